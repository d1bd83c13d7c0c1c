//! The objects of a bucket in the byte order of their paths, by page: listed, or read from Supabase's table.

use tokio_postgres::types::Type;

use super::cursor::Place;
use super::{ReconcileSource, Walk};
use crate::cleanup::Cleanup;
use crate::db::Statement;
use crate::db::statement::maybe;
use crate::error::{Code, Error, Result};
use crate::jobs::row::Reader;
use crate::storage::{Bucket, LIST_LIMIT_MAX, ListCursor, ListedObject, StorageKey};

pub(crate) static OBJECTS_TABLE: Statement = Statement {
    name: "cleanup.objects_table",
    sql: "-- cleanup.objects_table
SELECT has_schema_privilege(space.oid, 'USAGE') AND has_table_privilege(class.oid, 'SELECT') AS is_readable
  FROM pg_catalog.pg_class AS class
  JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
 WHERE space.nspname = 'storage' AND class.relname = 'objects'",
    params: &[],
    columns: &[maybe("is_readable", Type::BOOL)],
};

// The names that a marker has in the table show that the table is about our buckets, and that we may see its rows.
pub(crate) static MARKERS: Statement = Statement {
    name: "cleanup.markers",
    sql: "-- cleanup.markers
SELECT bool_and(EXISTS (SELECT FROM storage.objects AS object
                         WHERE object.bucket_id = marker.bucket AND object.name COLLATE \"C\" = marker.path)) AS are_there
  FROM unnest($1::text[], $2::text[]) AS marker (bucket, path)",
    params: &[Type::TEXT_ARRAY, Type::TEXT_ARRAY],
    columns: &[maybe("are_there", Type::BOOL)],
};

pub(crate) static OBJECTS_PAGE: Statement = Statement {
    name: "cleanup.objects_page",
    sql: "-- cleanup.objects_page
SELECT object.name, coalesce((object.metadata ->> 'size')::int8, 0) AS size,
       coalesce(object.updated_at, object.created_at, now()) AS updated_at
  FROM storage.objects AS object
 WHERE object.bucket_id = $1 AND object.name COLLATE \"C\" > $2
 ORDER BY object.name COLLATE \"C\"
 LIMIT (SELECT $3)",
    params: &[Type::TEXT, Type::TEXT, Type::INT8],
    columns: &[
        maybe("name", Type::TEXT),
        maybe("size", Type::INT8),
        maybe("updated_at", Type::TIMESTAMPTZ),
    ],
};

impl Cleanup<'_> {
    /// Decides where the objects are read.
    pub(super) async fn pick_source(&self, wanted: ReconcileSource) -> Result<ReconcileSource> {
        match wanted {
            ReconcileSource::List => Ok(ReconcileSource::List),
            ReconcileSource::Sql if self.has_objects_table().await? => Ok(ReconcileSource::Sql),
            ReconcileSource::Sql => Err(Error::invalid(
                "source",
                "must not be sql here: the database shows no table of objects with this installation's markers",
            )),
            ReconcileSource::Auto => match self.has_objects_table().await {
                Ok(true) => Ok(ReconcileSource::Sql),
                Ok(false) => Ok(ReconcileSource::List),
                // A table of that name that is somebody else's: it has other columns.
                Err(error) if error.code() == Code::SchemaMismatch => Ok(ReconcileSource::List),
                Err(error) => Err(error),
            },
        }
    }

    async fn has_objects_table(&self) -> Result<bool> {
        let rows = self.database().rows(&OBJECTS_TABLE, &[]).await?;
        let is_readable: Option<bool> = match rows.first() {
            Some(row) => Reader::new(row).take()?,
            None => None,
        };
        if is_readable != Some(true) {
            return Ok(false);
        }
        let markers = Bucket::ALL.map(StorageKey::InstallationMarker);
        let buckets: Vec<&str> = Bucket::ALL.iter().map(|bucket| bucket.name()).collect();
        let paths: Vec<String> = markers.iter().map(StorageKey::path).collect();
        let rows = self.database().rows(&MARKERS, &[&buckets, &paths]).await?;
        let are_there: Option<bool> = match rows.first() {
            Some(row) => Reader::new(row).take()?,
            None => None,
        };
        Ok(are_there == Some(true))
    }

    async fn table_page(&self, bucket: Bucket, after: &str) -> Result<(Vec<ListedObject>, Place)> {
        let limit = i64::try_from(LIST_LIMIT_MAX).unwrap_or(i64::MAX);
        let rows = self
            .database()
            .rows(&OBJECTS_PAGE, &[&bucket.name(), &after, &limit])
            .await?;
        let mut objects = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut reader = Reader::new(row);
            let (path, size): (String, i64) = (reader.take()?, reader.take()?);
            let size = u64::try_from(size).unwrap_or(0);
            objects.push(ListedObject::new(bucket, path, size, reader.take()?));
        }
        let place = match objects.last() {
            Some(last) if objects.len() == LIST_LIMIT_MAX => Place::After(last.path.clone()),
            _ => Place::End,
        };
        Ok((objects, place))
    }
}

impl Walk<'_> {
    /// Reads the next page, and where the one after it starts.
    pub(super) async fn next_page(&self) -> Result<(Vec<ListedObject>, Place)> {
        let bucket = self.cursor.bucket;
        let after = match &self.cursor.place {
            Place::Start => None,
            Place::After(after) => Some(after.as_str()),
            Place::End => return Ok((Vec::new(), Place::End)),
        };
        if self.cursor.source == ReconcileSource::Sql {
            return self
                .cleanup
                .table_page(bucket, after.unwrap_or_default())
                .await;
        }
        let cursor = after.map(ListCursor::new);
        let storage = &self.cleanup.inner.storage;
        let page = storage
            .list(bucket, cursor.as_ref(), LIST_LIMIT_MAX)
            .await?;
        let place = page
            .next
            .map_or(Place::End, |next| Place::After(next.as_str().to_owned()));
        Ok((page.objects, place))
    }
}
