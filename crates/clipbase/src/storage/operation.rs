//! What a storage is asked to do, and how a failure of it is told.
//!
//! Owns the sentences of every storage error, so that all backends speak alike. They are fixed texts:
//! nothing here takes a path, a key or a server's words.
//!
//! ```
//! use clipbase::Code;
//! use clipbase::storage::Operation;
//! assert_eq!(Operation::Copy.failure_code(), Code::StorageUploadFailed);
//! ```

use std::io;

use crate::error::{Cause, Code, Error};

/// One method of [`Storage`](super::Storage).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// `ensure_buckets` and `mend_buckets`
    EnsureBuckets,
    /// `upload`
    Upload,
    /// `upload_stream`
    UploadStream,
    /// `download`
    Download,
    /// `read_small`
    ReadSmall,
    /// `sign`
    Sign,
    /// `sign_many`
    SignMany,
    /// `sign_upload`
    SignUpload,
    /// `info`
    Info,
    /// `list`
    List,
    /// `copy`
    Copy,
    /// `remove`
    Remove,
}

impl Operation {
    /// Returns the method's name, as logs and metrics show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EnsureBuckets => "ensure_buckets",
            Self::Upload => "upload",
            Self::UploadStream => "upload_stream",
            Self::Download => "download",
            Self::ReadSmall => "read_small",
            Self::Sign => "sign",
            Self::SignMany => "sign_many",
            Self::SignUpload => "sign_upload",
            Self::Info => "info",
            Self::List => "list",
            Self::Copy => "copy",
            Self::Remove => "remove",
        }
    }

    /// Returns the code for a failure that no other code describes.
    pub const fn failure_code(self) -> Code {
        match self {
            Self::EnsureBuckets => Code::StorageUnavailable,
            Self::Upload | Self::UploadStream | Self::Copy => Code::StorageUploadFailed,
            Self::Download | Self::ReadSmall | Self::Info | Self::List => {
                Code::StorageDownloadFailed
            }
            Self::Sign | Self::SignMany | Self::SignUpload => Code::StorageSignFailed,
            Self::Remove => Code::StorageRemoveFailed,
        }
    }

    /// Tells whether it adds bytes to the storage, and so may find it full.
    const fn stores(self) -> bool {
        matches!(
            self,
            Self::EnsureBuckets | Self::Upload | Self::UploadStream | Self::Copy
        )
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::EnsureBuckets => "the storage could not be set up",
            Self::Upload | Self::UploadStream => "the object could not be stored",
            Self::Download | Self::ReadSmall => "the object could not be read",
            Self::Info => "the object could not be looked up",
            Self::List => "the objects could not be listed",
            Self::Sign | Self::SignMany | Self::SignUpload => "the link could not be signed",
            Self::Copy => "the object could not be copied",
            Self::Remove => "the object could not be removed",
        }
    }

    /// The failure that no other code describes.
    pub(crate) fn failed(self, cause: Cause) -> Error {
        Error::caused(self.failure_code(), self.sentence(), cause)
    }

    /// A failure with the given code, in the words that belong to the code.
    pub(crate) fn failed_as(self, code: Code, cause: Cause) -> Error {
        let sentence = match code {
            Code::StorageNotFound => "the object does not exist",
            Code::StorageUnavailable => "the storage cannot be reached or is not set up",
            Code::StorageQuota => {
                "the storage has no room left, or the object is larger than allowed"
            }
            Code::StorageRestricted => "the storage provider has restricted this account",
            Code::StorageForbidden => "the storage refuses the configured credential",
            _ => self.sentence(),
        };
        Error::caused(code, sentence, cause)
    }

    /// The object does not exist.
    pub(crate) fn missing(self) -> Error {
        self.failed_as(Code::StorageNotFound, Cause::new("no such object"))
    }

    /// An error of the file system; a full disk has its own code, if it is the storage's disk.
    pub(crate) fn io(self, error: &io::Error) -> Error {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let full = matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge);
        if full && self.stores() {
            self.failed_as(Code::StorageQuota, Cause::io(error))
        } else {
            self.failed(Cause::io(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_where_the_storage_writes() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Operation::Upload.io(&full).code(), Code::StorageQuota);
        // The disk that a download fills is not the storage's.
        assert_eq!(
            Operation::Download.io(&full).code(),
            Code::StorageDownloadFailed
        );
    }

    #[test]
    fn an_io_error_keeps_its_kind_and_loses_its_text() {
        let error = io::Error::new(io::ErrorKind::PermissionDenied, "/srv/canary/sources/x");
        let told = Operation::Upload.io(&error);
        assert!(!format!("{told} {told:?}").contains("canary"));
        assert!(format!("{told:?}").contains("PermissionDenied"));
    }
}
