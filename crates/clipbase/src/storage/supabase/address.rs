//! Addresses of the storage's endpoints: built here, from a base and a typed key, and nowhere else.
//!
//! No address is ever taken from a server: of what it answers, only tokens and upload ids are used.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::storage::{Bucket, DownloadName};

/// What may stand in a path as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Where a storage begins, without a slash at its end. It never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Base(String);

impl Base {
    pub(super) fn new(url: &Url) -> Self {
        Self(url.as_str().trim_end_matches('/').to_owned())
    }

    /// Returns the base with a path behind it.
    pub(super) fn below(&self, path: &str) -> Self {
        Self(format!("{}{path}", self.0))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// `/bucket` or `/bucket/{bucket}`
    pub(super) fn bucket(&self, bucket: Option<Bucket>) -> String {
        match bucket {
            Some(bucket) => format!("{}/bucket/{}", self.0, bucket.name()),
            None => format!("{}/bucket", self.0),
        }
    }

    /// `/object/{kind}/{bucket}/{path}`: the kind is `info`, `sign`, `upload/sign`, or empty for the object
    /// itself.
    pub(super) fn object(&self, kind: &str, bucket: Bucket, path: &str) -> String {
        let path = utf8_percent_encode(path, PATH);
        format!("{}/{path}", self.objects(kind, bucket))
    }

    /// `/object/{kind}/{bucket}`: all objects of a bucket.
    pub(super) fn objects(&self, kind: &str, bucket: Bucket) -> String {
        let slash = if kind.is_empty() { "" } else { "/" };
        format!("{}/object{slash}{kind}/{}", self.0, bucket.name())
    }

    /// `/object/copy`
    pub(super) fn copy(&self) -> String {
        format!("{}/object/copy", self.0)
    }

    /// `/upload/resumable` or `/upload/resumable/{id}`
    pub(super) fn resumable(&self, id: Option<&UploadId>) -> String {
        match id {
            Some(id) => format!("{}/upload/resumable/{}", self.0, id.0),
            None => format!("{}/upload/resumable", self.0),
        }
    }

    /// A signed link: the address of an object with a token.
    pub(super) fn link(
        &self,
        kind: &str,
        bucket: Bucket,
        path: &str,
        token: &Token,
        name: Option<&DownloadName>,
    ) -> String {
        let mut link = format!("{}?token={}", self.object(kind, bucket, path), token.0);
        if let Some(name) = name {
            link.push_str("&download=");
            link.extend(utf8_percent_encode(name.as_str(), NON_ALPHANUMERIC));
        }
        link
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Base(…)")
    }
}

/// The token of a signed link. It never prints itself.
pub(super) struct Token(String);

impl Token {
    /// The longest token that is taken, in bytes.
    const BYTES_MAX: usize = 8 * 1024;

    /// Finds the token in a link that the server signed.
    pub(super) fn of_link(link: &str) -> Option<Self> {
        let (_, query) = link.split_once('?')?;
        let token = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("token="))?;
        let fits = (1..=Self::BYTES_MAX).contains(&token.len());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (fits && token.bytes().all(plain)).then(|| Self(token.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names a resumable upload: the last part of what the server calls its location.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct UploadId(String);

impl UploadId {
    /// The longest id that is taken, in bytes.
    const BYTES_MAX: usize = 4 * 1024;

    /// Takes the id out of a `Location` header. Its host may be anything behind a proxy, so only what stands
    /// after `/upload/resumable/` counts.
    pub(super) fn of_location(location: &str) -> Option<Self> {
        let (_, id) = location.rsplit_once("/upload/resumable/")?;
        Self::new(id)
    }

    /// Takes an id that was kept.
    pub(super) fn new(id: &str) -> Option<Self> {
        let fits = (1..=Self::BYTES_MAX).contains(&id.len());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
        (fits && id.bytes().all(plain)).then(|| Self(id.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the version that the finished object will carry: the id is the base64url text of
    /// `bucket/path/version`. `None` when it is something else, as a later server's might be.
    pub(super) fn version(&self) -> Option<String> {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let text = URL_SAFE_NO_PAD.decode(self.0.trim_end_matches('=')).ok()?;
        let text = String::from_utf8(text).ok()?;
        let (_, version) = text.rsplit_once('/')?;
        version
            .parse::<uuid::Uuid>()
            .ok()
            .map(|_| version.to_owned())
    }
}

impl fmt::Debug for UploadId {
    /// Shows nothing: it is a bucket and a path in another spelling.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UploadId(…)")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn base() -> Base {
        Base::new(&Url::parse("https://host/storage/v1/").unwrap())
    }

    #[test]
    fn addresses_are_the_documented_ones() {
        let base = base();
        for (address, expected) in [
            (base.bucket(None), "/bucket"),
            (base.bucket(Some(Bucket::Sources)), "/bucket/sources"),
            (
                base.object("", Bucket::Sources, "a b/c.mp4"),
                "/object/sources/a%20b/c.mp4",
            ),
            (
                base.object("upload/sign", Bucket::Results, "x?y"),
                "/object/upload/sign/results/x%3Fy",
            ),
            (
                base.objects("list-v2", Bucket::Results),
                "/object/list-v2/results",
            ),
            (base.objects("", Bucket::Results), "/object/results"),
            (base.resumable(None), "/upload/resumable"),
        ] {
            assert_eq!(address, format!("https://host/storage/v1{expected}"));
        }
    }

    #[test]
    fn a_link_is_built_here_and_takes_only_the_token() {
        let token = Token::of_link("/object/sign/else where?x=1&token=a.b-c_d&y").unwrap();
        let name = DownloadName::new("my clip&x=ü.mp4").unwrap();
        let link = base().link("sign", Bucket::Results, "p/clip.mp4", &token, Some(&name));
        assert_eq!(
            link,
            "https://host/storage/v1/object/sign/results/p/clip.mp4?token=a.b-c_d\
             &download=my%20clip%26x%3D%C3%BC%2Emp4"
        );
        for bad in [
            "",
            "/object/sign/x",
            "/x?token=",
            "/x?token=a b",
            "/x?token=a\nb",
        ] {
            assert!(Token::of_link(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_location_gives_its_id_and_nothing_else() {
        let version = uuid::Uuid::new_v4().to_string();
        let id = URL_SAFE_NO_PAD.encode(format!("sources/a/b.mp4/{version}"));
        for place in ["http://elsewhere:1", "https://host/storage/v1", ""] {
            let found = UploadId::of_location(&format!("{place}/upload/resumable/{id}")).unwrap();
            assert_eq!(found.as_str(), id);
            assert_eq!(found.version(), Some(version.clone()));
        }
        for bad in ["", "/upload/resumable/", "/x/y", "/upload/resumable/../etc"] {
            assert!(UploadId::of_location(bad).is_none(), "{bad}");
        }
        assert_eq!(UploadId::new("plain").unwrap().version(), None);
        assert_eq!(
            format!("{:?}", UploadId::new("canary").unwrap()),
            "UploadId(…)"
        );
    }
}
