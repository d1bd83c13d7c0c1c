//! From the driver's errors to ours: what happened, whether it can have been committed, and nothing that a
//! server or a row said in its own words, since that may hold an address, a key or a bucket's name.

use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::error::{Cause, Code, Error};

/// What may be done about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing: tell the caller.
    Report,
    /// The statement certainly did not commit: run it again.
    Retry,
    /// A pooler lost our prepared statement; nothing ran. Run unnamed statements from here on.
    Unname,
}

/// Tells what may be done about a driver's error.
pub(super) fn remedy(error: &tokio_postgres::Error) -> Remedy {
    let Some(state) = error.code() else {
        return Remedy::Report;
    };
    match state.code() {
        // Serialization failure, deadlock, lock timeout: rolled back by the server.
        "40001" | "40P01" | "55P03" => Remedy::Retry,
        // Prepared statement unknown or known twice; protocol violation by a pooler without them.
        "26000" | "42P05" | "08P01" => Remedy::Unname,
        _ => Remedy::Report,
    }
}

/// Tells whether the server has closed the connection with this error.
pub(super) fn is_fatal(error: &DbError) -> bool {
    matches!(
        error.parsed_severity(),
        Some(Severity::Fatal | Severity::Panic)
    )
}

/// Maps a failure to get a connection: nothing was sent.
pub(super) fn of_pool(error: &PoolError) -> Error {
    match error {
        PoolError::Timeout(_) => Error::failed(
            Code::DbUnavailable,
            "no database connection became free in time; try again",
        ),
        PoolError::Backend(error) => of_connect(error),
        _ => Error::failed(Code::DbUnavailable, "the database cannot be reached"),
    }
}

pub(super) fn of_connect(error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return Error::caused(
            Code::DbUnavailable,
            "the database cannot be reached; check that it runs and that DATABASE_URL is right",
            transport_cause(error),
        );
    };
    let message = match db.code().code() {
        "28000" | "28P01" => "the database refuses the credentials in DATABASE_URL",
        "3D000" => "the database that DATABASE_URL names does not exist",
        "53300" => "the database has no connection left; lower the pool size or raise its limit",
        "42501" => "the database's user may not connect to this database; grant it CONNECT",
        _ => "the database refuses the connection",
    };
    Error::caused(Code::DbUnavailable, message, db_cause(db))
}

/// Maps a failed statement.
pub(super) fn of_statement(error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        if error.is_closed()
            || std::error::Error::source(error)
                .is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
        {
            return Error::caused(
                Code::DbUnavailable,
                "the connection to the database broke; the call may or may not have happened",
                transport_cause(error),
            );
        }
        return Error::caused(
            Code::DbFailed,
            "the database's answer could not be read",
            Cause::new("driver"),
        );
    };
    let cause = db_cause(db);
    if let Some(message) = our_message(db) {
        return Error::caused(Code::DbConflict, message, cause);
    }
    let (code, message) = match db.code().code() {
        state if state.starts_with("23") || state == "22001" => {
            (Code::DbConflict, constraint_message(db.constraint()))
        }
        "57014" => (
            Code::DbTimeout,
            "the database ended the call: it took too long",
        ),
        "40001" | "40P01" | "55P03" => (Code::DbConflict, "the row is busy; try again"),
        "25006" => (
            Code::DbUnavailable,
            "the database is read-only; it may be failing over",
        ),
        "42P01" | "42703" | "42704" | "42883" => (
            Code::SchemaMismatch,
            "the database has not the schema that this version needs; run `clipbase migrate`",
        ),
        "42501" => (
            Code::DbFailed,
            "the database's user lacks a privilege for this; connect as a member of clipbase_api (the API), of \
             clipbase_worker (workers and clean-up), or as the owner of the tables",
        ),
        state if state.starts_with("08") || state.starts_with("53") || state.starts_with("57P") => {
            (
                Code::DbUnavailable,
                "the database is not available; try again",
            )
        }
        _ => (Code::DbFailed, "the database answered with an error"),
    };
    Error::caused(code, message, cause)
}

/// Sentences of our own triggers: written by us, free of secrets.
fn our_message(db: &DbError) -> Option<String> {
    db.code().code().starts_with("CB").then(|| match db.hint() {
        Some(hint) => format!("{}; {hint}", db.message()),
        None => db.message().to_owned(),
    })
}

fn constraint_message(constraint: Option<&str>) -> &'static str {
    match constraint {
        Some("jobs_pkey") => "a job with this id exists already",
        Some("jobs_range") => "the end of the clip must come after its start",
        Some("jobs_source_by_type") => {
            "an upload needs its source_key and no source_url before it is processed, a youtube source the reverse"
        }
        Some("jobs_burn_needs_subtitles") => "burn_subtitles needs with_subtitles",
        Some("jobs_done_has_video") => "a finished job needs its result_video_key",
        Some("jobs_progress_percent") => "progress must be 0 to 100",
        Some("jobs_priority_known") => "priority must be high, normal or low",
        Some("api_keys_rate_limit_bounded") => "rate_limit_per_min must be 1 to 60000",
        Some("job_events_job_id_jobs_id_fk") => "the job does not exist",
        Some("job_events_data_bounded") => "the event's data is too large",
        _ => "the database refuses the row",
    }
}

fn db_cause(db: &DbError) -> Cause {
    let kind = format!("sqlstate {}", db.code().code());
    // A constraint's name is ours or the schema's; a message may quote the row.
    match db.constraint().and_then(known_constraint) {
        Some(name) => Cause::with_detail(kind, name),
        None => Cause::new(kind),
    }
}

/// A name of our own tables' constraints. Others are their owners' words.
fn known_constraint(name: &str) -> Option<String> {
    let ours = [
        "api_keys_",
        "jobs_",
        "job_events_",
        "job_idempotency_",
        "storage_deletions_",
        "clipbase_",
    ];
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (plain && ours.iter().any(|table| name.starts_with(table))).then(|| name.to_owned())
}

fn transport_cause(error: &tokio_postgres::Error) -> Cause {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            if io.kind() == std::io::ErrorKind::InvalidData {
                return Cause::new("tls: the server's certificate is not valid for this host");
            }
            return Cause::io(io);
        }
        if inner.is::<rustls::Error>() {
            return Cause::new("tls");
        }
        source = inner.source();
    }
    Cause::new("connection")
}

/// Whether an error says that a relation is missing: the schema was never installed.
pub(crate) fn is_missing_relation(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNDEFINED_TABLE)
}
