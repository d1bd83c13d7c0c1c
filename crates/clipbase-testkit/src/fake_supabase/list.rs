//! Listings: one folder's level, and everything below a prefix page by page.

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::auth::Role;
use super::buckets::{required, text};
use super::dispatch::Asked;
use super::refusal::{Failure, Handled, Refusal, json};
use super::store::{BucketRow, Row};

/// The most entries of one page.
const PAGE_MAX: usize = 1_000;

/// The entries of a page whose size nobody chose, of one level.
const LEVEL_DEFAULT: usize = 100;

/// `POST /object/list/{bucket}`: the prefix is a folder, and names are told without it.
pub(super) async fn level(asked: &mut Asked, role: Role) -> Handled {
    let document = asked.body.json().await?;
    let mut folder = required(&document, "prefix")?
        .trim_start_matches('/')
        .to_owned();
    if !folder.is_empty() && !folder.ends_with('/') {
        folder.push('/');
    }
    let limit = count(&document, "limit", 1)?.unwrap_or(LEVEL_DEFAULT);
    let offset = count(&document, "offset", 0)?.unwrap_or_default();
    let order = Order::read(&document)?;
    let search = text(&document, "search")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let store = asked.server.store();
    let Some(bucket) = store
        .buckets
        .get(&asked.route.bucket)
        .filter(|_| role == Role::Service)
    else {
        return Ok(json(200, &json!([])));
    };
    let mut entries = entries(bucket, &folder, true);
    entries.retain(|(name, _)| {
        let name = name.get(folder.len()..).unwrap_or_default();
        name.to_ascii_lowercase().starts_with(&search)
    });
    order.sort(&mut entries);
    let page = entries.iter().skip(offset).take(limit).map(|(name, row)| {
        let name = name.get(folder.len()..).unwrap_or_default();
        match row {
            Some(row) => row.listed(name),
            None => json!({
                "name": name.trim_end_matches('/'),
                "id": null,
                "updated_at": null,
                "created_at": null,
                "last_accessed_at": null,
                "metadata": null,
            }),
        }
    });
    Ok(json(200, &page.collect::<Vec<_>>().into()))
}

/// `POST /object/list-v2/{bucket}`: names are whole, and in the order of their bytes unless something else is asked.
pub(super) async fn recursive(asked: &mut Asked, role: Role) -> Handled {
    let document = asked.body.json().await?;
    let prefix = text(&document, "prefix").unwrap_or_default();
    let limit = count(&document, "limit", 1)?
        .unwrap_or(PAGE_MAX)
        .min(PAGE_MAX);
    let with_folders = document.get("with_delimiter").and_then(Value::as_bool) == Some(true);
    let cursor = text(&document, "cursor").filter(|cursor| !cursor.is_empty());
    let (after, order) = match cursor {
        Some(cursor) => read_cursor(cursor).map(|(after, order)| (Some(after), order))?,
        None => (None, Order::read(&document)?),
    };
    let store = asked.server.store();
    let bucket = store
        .buckets
        .get(&asked.route.bucket)
        .filter(|_| role == Role::Service);
    let Some(bucket) = bucket else {
        return Ok(json(
            200,
            &json!({"hasNext": false, "folders": [], "objects": []}),
        ));
    };
    let page = if order == Order::default() && !with_folders {
        let rows = bucket
            .named(prefix, after.as_ref().map(|after| after.name.as_str()))
            .take(limit + 1);
        rows.map(|(name, row)| (name.to_owned(), Some(row)))
            .collect()
    } else {
        let mut entries = entries(bucket, prefix, with_folders);
        order.sort(&mut entries);
        let place = after.map(|after| order.place_after(&entries, &after));
        entries
            .into_iter()
            .skip(place.unwrap_or_default())
            .take(limit + 1)
            .collect::<Vec<_>>()
    };
    let has_next = page.len() > limit;
    let (mut folders, mut objects) = (Vec::new(), Vec::new());
    for (name, row) in page.iter().take(limit) {
        match row {
            Some(row) => objects.push(row.listed(name)),
            None => folders.push(json!({ "name": name, "id": null })),
        }
    }
    let mut answer = json!({ "hasNext": has_next, "folders": folders, "objects": objects });
    let last = page.get(limit.saturating_sub(1)).filter(|_| has_next);
    if let (Some(last), Some(fields)) = (last, answer.as_object_mut()) {
        fields.insert("nextCursor".to_owned(), order.cursor(last).into());
    }
    Ok(json(200, &answer))
}

/// An object, or a folder without a row.
type Entry<'a> = (String, Option<&'a Row>);

/// Everything whose name begins with `base`; what lies in folders below it may be told once, as its folder.
fn entries<'a>(bucket: &'a BucketRow, base: &str, with_folders: bool) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let mut folder = String::new();
    let mut rows = bucket.from(base);
    while let Some((name, row)) = rows.next() {
        let Some(rest) = name.strip_prefix(base) else {
            break;
        };
        let slash = rest.find('/').filter(|_| with_folders);
        let Some(slash) = slash else {
            entries.push((name.to_owned(), Some(row)));
            continue;
        };
        folder.clear();
        folder.push_str(base);
        folder.push_str(rest.get(..=slash).unwrap_or_default());
        entries.push((folder.clone(), None));
        // The rest of the folder is not looked at: the sign after the slash begins what comes next.
        folder.pop();
        folder.push('0');
        rows = bucket.from(&folder);
    }
    entries
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Column {
    #[default]
    Name,
    UpdatedAt,
    CreatedAt,
}

/// How a listing is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Order {
    column: Column,
    descends: bool,
}

impl Order {
    fn read(document: &Value) -> Result<Self, Failure> {
        let sort = document.get("sortBy").filter(|sort| !sort.is_null());
        let Some(sort) = sort else {
            return Ok(Self::default());
        };
        let column = match text(sort, "column") {
            Some(column) => Column::named(column),
            None => Some(Column::Name),
        };
        let refusal =
            || Refusal::invalid("body/sortBy/column must be equal to one of the allowed values");
        Ok(Self {
            column: column.ok_or_else(refusal)?,
            descends: text(sort, "order") == Some("desc"),
        })
    }

    /// What an entry is sorted by, before its name.
    fn key(self, entry: &Entry<'_>) -> Option<Timestamp> {
        let row = entry.1?;
        match self.column {
            Column::Name => None,
            Column::UpdatedAt => Some(row.updated_at),
            Column::CreatedAt => Some(row.created_at),
        }
    }

    fn compare(self, one: &Entry<'_>, other: (Option<Timestamp>, &str)) -> Ordering {
        let order = (self.key(one), one.0.as_str()).cmp(&other);
        if self.descends {
            order.reverse()
        } else {
            order
        }
    }

    fn sort(self, entries: &mut [Entry<'_>]) {
        entries.sort_by(|one, other| self.compare(one, (self.key(other), &other.0)));
    }

    /// How many of the sorted entries come up to where the page before ended; the entry there may be gone.
    fn place_after(self, entries: &[Entry<'_>], after: &Position) -> usize {
        let after = (after.key, after.name.as_str());
        entries.partition_point(|entry| self.compare(entry, after) != Ordering::Greater)
    }

    fn cursor(self, last: &Entry<'_>) -> String {
        let order = if self.descends { "desc" } else { "asc" };
        let mut cursor = format!("l:{}\no:{order}\nc:{}", last.0, self.column.name());
        if let Some(key) = self.key(last) {
            cursor.push_str(&format!("\na:{key}"));
        }
        STANDARD.encode(cursor)
    }
}

/// Where a page ended.
struct Position {
    name: String,
    key: Option<Timestamp>,
}

impl Column {
    fn named(name: &str) -> Option<Self> {
        match name {
            "name" => Some(Self::Name),
            "updated_at" => Some(Self::UpdatedAt),
            "created_at" => Some(Self::CreatedAt),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::UpdatedAt => "updated_at",
            Self::CreatedAt => "created_at",
        }
    }
}

fn read_cursor(cursor: &str) -> Result<(Position, Order), Failure> {
    let decoded = STANDARD
        .decode(cursor)
        .ok()
        .and_then(|text| String::from_utf8(text).ok());
    let (mut name, mut key) = (None, None);
    let mut order = Order::default();
    for line in decoded.as_deref().unwrap_or_default().lines() {
        match line.split_once(':') {
            Some(("l", last)) => name = Some(last.to_owned()),
            Some(("o", direction)) => order.descends = direction == "desc",
            Some(("c", column)) => order.column = Column::named(column).unwrap_or_default(),
            Some(("a", time)) => key = time.parse().ok(),
            _ => {}
        }
    }
    let refusal = || {
        let message = "Invalid Parameter continuation token";
        Refusal::new(400, "InvalidParameter", "InvalidParameter", message)
    };
    let name = name.ok_or_else(refusal)?;
    Ok((Position { name, key }, order))
}

/// Reads a number that may be missing.
fn count(document: &Value, field: &str, least: u64) -> Result<Option<usize>, Failure> {
    let Some(value) = document.get(field) else {
        return Ok(None);
    };
    let count = value.as_u64().filter(|count| *count >= least);
    let refusal = || Refusal::invalid(format!("body/{field} must be >= {least}"));
    let count = count.ok_or_else(refusal)?;
    Ok(Some(usize::try_from(count).unwrap_or(usize::MAX)))
}
