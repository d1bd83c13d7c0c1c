//! Objects one by one and in pages: look up, list, copy.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::Inner;
use super::failure::{Failure, Meaning};
use super::http::Call;
use crate::error::{Cause, Error, Result};
use crate::storage::objects::check_limit;
use crate::storage::{
    Bucket, ListCursor, ListPage, ListedObject, ObjectInfo, Operation, StorageKey,
};

/// An object as the server describes it.
#[derive(Deserialize)]
pub(super) struct Row {
    size: Option<u64>,
    content_type: Option<String>,
    last_modified: Option<Timestamp>,
    pub(super) version: Option<String>,
}

impl Row {
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }
}

/// A page as the server sends it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    has_next: bool,
    next_cursor: Option<String>,
    objects: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    /// The whole path, as no delimiter is asked for.
    name: String,
    updated_at: Option<Timestamp>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    size: Option<u64>,
}

impl Inner {
    /// Finds an object; `None` where it is missing and its bucket is not.
    pub(super) async fn find(
        &self,
        operation: Operation,
        key: &StorageKey,
    ) -> Result<Option<Row>, Failure> {
        let path = self.config.key_layout.path(key);
        let call = Call::get(self.config.storage.object("info", key.bucket(), &path));
        match self.http.call(operation, &call).await {
            Ok(row) => Ok(Some(row)),
            Err(failure) if failure.meaning() == Meaning::NoObject => {
                self.bucket_is_there(operation, key.bucket()).await?;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn describe(&self, key: &StorageKey) -> Result<Option<ObjectInfo>> {
        let operation = Operation::Info;
        let found = self.find(operation, key).await;
        let Some(row) = found.map_err(|failure| failure.of(operation))? else {
            return Ok(None);
        };
        let (Some(size), Some(updated_at)) = (row.size, row.last_modified) else {
            return Err(Failure::malformed("object without size or time").of(operation));
        };
        let content_type = row
            .content_type
            .unwrap_or_else(|| "application/octet-stream".to_owned());
        Ok(Some(ObjectInfo {
            size,
            content_type: content_type.into(),
            updated_at,
        }))
    }

    pub(super) async fn page(
        &self,
        bucket: Bucket,
        after: Option<&ListCursor>,
        limit: usize,
    ) -> Result<ListPage> {
        check_limit(limit)?;
        let operation = Operation::List;
        let after = after.map(Position::read).transpose()?;
        let mut body = json!({
            "prefix": "",
            "limit": limit,
            "with_delimiter": false,
            "sortBy": { "column": "name", "order": "asc" },
        });
        if let (Some(position), Some(fields)) = (&after, body.as_object_mut()) {
            fields.insert("cursor".to_owned(), json!(position.cursor));
        }
        let call = Call::post(self.config.storage.objects("list-v2", bucket), body);
        let page = self.http.call(operation, &call).await;
        let page: Page = page.map_err(|failure: Failure| failure.of(operation))?;
        if page.objects.is_empty() && after.is_none() {
            // The server lists a bucket that does not exist as an empty one.
            self.bucket_is_there(operation, bucket)
                .await
                .map_err(|failure| failure.of(operation))?;
        }
        self.read_page(bucket, page, after.map(|position| position.path), limit)
    }

    /// Checks a page: whoever walks the bucket in step with the database relies on the order.
    fn read_page(
        &self,
        bucket: Bucket,
        page: Page,
        after: Option<String>,
        limit: usize,
    ) -> Result<ListPage> {
        let wrong = |what| Operation::List.failed(Cause::new(what));
        if page.objects.len() > limit {
            return Err(wrong("more objects than asked for"));
        }
        let mut latest = after;
        let mut objects = Vec::with_capacity(page.objects.len());
        for listed in page.objects {
            if latest.as_ref().is_some_and(|path| *path >= listed.name) {
                return Err(wrong("paths that do not rise"));
            }
            latest = Some(listed.name.clone());
            objects.push(ListedObject {
                key: self.config.key_layout.key(bucket, &listed.name),
                path: listed.name,
                // A row whose upload has not ended has neither size nor time yet.
                size: listed.metadata.and_then(|known| known.size).unwrap_or(0),
                updated_at: listed.updated_at.unwrap_or(Timestamp::UNIX_EPOCH),
            });
        }
        let next = match (page.has_next, page.next_cursor, latest) {
            (false, ..) => None,
            (true, Some(cursor), Some(path)) if !objects.is_empty() => {
                Some(Position { path, cursor }.write())
            }
            (true, ..) => return Err(wrong("page without a next one")),
        };
        Ok(ListPage { objects, next })
    }

    pub(super) async fn copy_object(&self, from: &StorageKey, to: &StorageKey) -> Result<()> {
        let operation = Operation::Copy;
        if from == to {
            // Nothing to do; but a copy of nothing is an error, as between two keys.
            let found = self.find(operation, from).await;
            let found = found.map_err(|failure| failure.of(operation))?;
            return found.map(|_| ()).ok_or_else(|| operation.missing());
        }
        let layout = self.config.key_layout;
        let call = Call::post(
            self.config.storage.copy(),
            json!({
                "bucketId": from.bucket().name(),
                "sourceKey": layout.path(from),
                "destinationBucket": to.bucket().name(),
                "destinationKey": layout.path(to),
            }),
        )
        .with_upsert()
        .with_timeout(self.config.timeouts.read.max(self.config.timeouts.control));
        match self.http.done(operation, &call).await {
            Ok(()) => Ok(()),
            Err(failure) if failure.meaning() == Meaning::NoObject => {
                self.bucket_is_there(operation, from.bucket())
                    .await
                    .map_err(|failure| failure.of(operation))?;
                Err(failure.of(operation))
            }
            Err(failure) => Err(failure.of(operation)),
        }
    }
}

/// Where a listing goes on: the server's cursor, and the last path seen, so that the order is checked across
/// pages too.
struct Position {
    path: String,
    cursor: String,
}

impl Position {
    fn write(&self) -> ListCursor {
        ListCursor::new(format!("{}\n{}", self.path, self.cursor))
    }

    fn read(cursor: &ListCursor) -> Result<Self> {
        cursor
            .as_str()
            .split_once('\n')
            .map(|(path, cursor)| Self {
                path: path.to_owned(),
                cursor: cursor.to_owned(),
            })
            .ok_or_else(|| Error::invalid("after", "must be the `next` of an earlier page"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SupabaseConfig, SupabaseStorage};
    use super::*;
    use crate::error::Code;

    fn page(
        names: &[&str],
        has_next: bool,
        next_cursor: Option<&str>,
        after: Option<&str>,
    ) -> Result<ListPage> {
        let config = SupabaseConfig::from_storage_url("http://127.0.0.1:9", "k").unwrap();
        let storage = SupabaseStorage::new(config).unwrap();
        let page = json!({
            "hasNext": has_next,
            "nextCursor": next_cursor,
            "folders": [],
            "objects": names.iter().map(|name| json!({ "name": name, "metadata": null }))
                .collect::<Vec<_>>(),
        });
        let page = serde_json::from_value(page).unwrap();
        let after = after.map(str::to_owned);
        storage.inner.read_page(Bucket::Results, page, after, 3)
    }

    #[test]
    fn a_page_out_of_order_is_refused() {
        for (names, after) in [
            (&["b", "a"][..], None),
            (&["a", "a"], None),
            (&["a"], Some("a")),
            (&["a"], Some("b")),
            (&["a", "b", "c", "d"], None),
        ] {
            let refused = page(names, false, None, after).unwrap_err();
            assert_eq!(refused.code(), Code::StorageDownloadFailed, "{names:?}");
        }
        assert_eq!(
            page(&["B", "a"], false, None, Some("A"))
                .unwrap()
                .objects
                .len(),
            2
        );
    }

    #[test]
    fn a_page_that_leads_nowhere_is_refused() {
        assert!(page(&["a"], true, None, None).is_err());
        assert!(page(&[], true, Some("c"), None).is_err());
        let next = page(&["a"], true, Some("c"), None).unwrap().next.unwrap();
        let position = Position::read(&next).unwrap();
        assert_eq!(
            (position.path.as_str(), position.cursor.as_str()),
            ("a", "c")
        );
        assert!(Position::read(&ListCursor::new("elsewhere")).is_err());
        assert!(page(&["a"], false, Some("c"), None).unwrap().next.is_none());
    }
}
