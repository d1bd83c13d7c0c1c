//! Which database belongs to which buckets.
//!
//! A random id lives in the database and, as an object, in each bucket; the database also remembers which
//! server it was bootstrapped on. Claims and deletions refuse where they differ, so that a restored copy of
//! production does not eat production's files.

use tokio_postgres::types::Type;

use crate::clipbase::{Clipbase, Inner};
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::{Code, Error, Result};
use crate::ids::InstallationId;
use crate::jobs::row::Reader;
use crate::storage::{Bucket, BucketReport, StorageKey, byte_stream};

pub(crate) static STATEMENTS: &[&Statement] = &[&READ, &ADOPT];

// The server's system identifier and the database's oid: a dump restored elsewhere has others.
static READ: Statement = Statement {
    name: "installation.read",
    sql: "-- installation.read
SELECT installation.id, installation.database_identity, here.identity
  FROM public.clipbase_installation AS installation
 CROSS JOIN (SELECT system.system_identifier || '/' || database.oid AS identity
               FROM pg_catalog.pg_control_system() AS system, pg_catalog.pg_database AS database
              WHERE database.datname = current_database()) AS here",
    params: &[],
    columns: &[
        always("id", Type::UUID),
        maybe("database_identity", Type::VARCHAR),
        maybe("identity", Type::TEXT),
    ],
};

static ADOPT: Statement = Statement {
    name: "installation.adopt",
    sql: "-- installation.adopt
UPDATE public.clipbase_installation
   SET database_identity = $2,
       id = CASE WHEN $1 THEN gen_random_uuid() ELSE id END
RETURNING id",
    params: &[Type::BOOL, Type::VARCHAR],
    columns: &[always("id", Type::UUID)],
};

struct Installed {
    id: InstallationId,
    /// Whether this database is the one that was bootstrapped; `None` when none was.
    is_here: Option<bool>,
    identity: String,
}

impl Clipbase {
    /// Makes the buckets, and ties this database to them: the first bootstrap writes the marker, later ones
    /// find it. Safe to repeat and to run from several processes at once. Tells which buckets are new, and
    /// where the others differ from what is configured.
    ///
    /// # Errors
    /// `INSTALLATION_MISMATCH` when the buckets belong to another database, or this database is a copy.
    pub async fn bootstrap(&self) -> Result<Vec<BucketReport>> {
        let inner = self.inner();
        let buckets = inner.storage.ensure_buckets().await?;
        let installed = inner.read_installation().await?;
        if installed.is_here == Some(false) {
            return Err(copied());
        }
        for bucket in Bucket::ALL {
            match inner.read_marker(bucket).await? {
                Some(id) if id == installed.id => {}
                Some(_) => return Err(foreign()),
                None => inner.write_marker(bucket, installed.id).await?,
            }
        }
        if installed.is_here.is_none() {
            inner
                .database
                .rows(&ADOPT, &[&false, &installed.identity])
                .await?;
        }
        Ok(buckets)
    }

    /// Ties this database to its buckets on purpose, after a restore: use it only when nothing else works
    /// with these buckets any more. The buckets get this database's marker.
    ///
    /// # Errors
    /// The database's and the storage's.
    pub async fn adopt_installation(&self) -> Result<Vec<BucketReport>> {
        let inner = self.inner();
        let buckets = inner.storage.ensure_buckets().await?;
        let installed = inner.read_installation().await?;
        let rows = inner
            .database
            .rows(&ADOPT, &[&true, &installed.identity])
            .await?;
        let row = rows.first().ok_or_else(missing)?;
        let id = InstallationId::from_uuid(Reader::new(row).take()?);
        for bucket in Bucket::ALL {
            inner.write_marker(bucket, id).await?;
        }
        Ok(buckets)
    }

    /// Checks that database and buckets belong together, as claims and deletions do before they start.
    ///
    /// # Errors
    /// `INSTALLATION_MISMATCH`.
    pub async fn check_installation(&self) -> Result<()> {
        self.inner().check_installation().await
    }
}

impl Inner {
    /// Asks once; a pair that belongs together goes on doing so while the process runs.
    pub(crate) async fn check_installation(&self) -> Result<()> {
        self.installation
            .get_or_try_init(|| async {
                let installed = self.read_installation().await?;
                match installed.is_here {
                    Some(true) => {}
                    Some(false) => return Err(copied()),
                    None => return Err(not_bootstrapped()),
                }
                for bucket in Bucket::ALL {
                    match self.read_marker(bucket).await? {
                        Some(id) if id == installed.id => {}
                        Some(_) => return Err(foreign()),
                        None => return Err(not_bootstrapped()),
                    }
                }
                Ok(())
            })
            .await
            .copied()
    }

    /// As [`Inner::check_installation`], for work on rows alone, whose objects wait in the outbox: where the
    /// storage does not answer, the database's half, which is checked first, is enough. Returns the storage's
    /// error then.
    pub(crate) async fn check_for_rows(&self) -> Result<Option<Error>> {
        match self.check_installation().await {
            Ok(()) => Ok(None),
            Err(error) if error.code() == Code::StorageUnavailable => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    async fn read_installation(&self) -> Result<Installed> {
        let rows = self.database.rows(&READ, &[]).await?;
        let mut reader = Reader::new(rows.first().ok_or_else(missing)?);
        let id = InstallationId::from_uuid(reader.take()?);
        let known: Option<String> = reader.take()?;
        let identity: String = reader.take()?;
        Ok(Installed {
            id,
            is_here: known.map(|known| known == identity),
            identity,
        })
    }

    async fn read_marker(&self, bucket: Bucket) -> Result<Option<InstallationId>> {
        let key = StorageKey::InstallationMarker(bucket);
        match self.storage.read_small(&key).await {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                text.trim().parse().map(Some).map_err(|_| foreign())
            }
            Err(error) if error.code() == Code::StorageNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write_marker(&self, bucket: Bucket, id: InstallationId) -> Result<()> {
        let key = StorageKey::InstallationMarker(bucket);
        let text = id.to_string();
        let size = text.len() as u64;
        self.storage
            .upload_stream(byte_stream(text), size, &key)
            .await?;
        Ok(())
    }
}

fn missing() -> Error {
    Error::failed(
        Code::SchemaMismatch,
        "the installation's row is missing; run `clipbase migrate`",
    )
}

fn not_bootstrapped() -> Error {
    Error::failed(
        Code::InstallationMismatch,
        "the database and the storage are not tied together yet; run `clipbase bootstrap`",
    )
}

fn foreign() -> Error {
    Error::failed(
        Code::InstallationMismatch,
        "the storage belongs to another database; nothing is claimed or deleted. If the other one is gone, \
         run `clipbase bootstrap --adopt`",
    )
}

fn copied() -> Error {
    Error::failed(
        Code::InstallationMismatch,
        "this database is a copy of the one that the storage belongs to; nothing is claimed or deleted. If \
         it replaces the original, run `clipbase bootstrap --adopt`",
    )
}
