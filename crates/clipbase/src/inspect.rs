//! What an operator asks of a database: is it the schema we need, does anything hold it back, and does
//! every job's log add up to its row.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::clipbase::Inner;
use crate::db::statement::{Column, always, maybe, of};
use crate::db::{Database, Statement};
use crate::error::{Error, Result};
use crate::ids::JobId;
use crate::jobs::row::Reader;
use crate::migrate;
use crate::queue::{in_queue, live_shards_cte};

/// The most jobs that one page of an audit reads.
pub const AUDIT_PAGE_MAX: u32 = 1_000;

pub(crate) static STATEMENTS: &[&Statement] = &[&SERVER, &USER, &QUEUES, &LOST_LEASES, &AUDIT];

/// The server behind the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Its version: `17.4`.
    pub version: String,
    /// How many seconds the oldest open transaction of this database is open: it keeps vacuum from
    /// removing dead rows, and claims get slower.
    pub oldest_transaction_secs: Option<i64>,
}

/// Whom the database takes us for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// Whether the tables are the user's own, who may do everything with them.
    pub is_owner: bool,
    /// Which of `clipbase_api`, `clipbase_worker` and `clipbase_reader` the user is a member of.
    pub roles: Vec<String>,
    /// Whether the user sees what the sessions of others do; else [`Server::oldest_transaction_secs`] knows only
    /// of the user's own.
    pub sees_sessions: bool,
}

/// The queue of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardQueue {
    /// The shard.
    pub shard: i32,
    /// When its oldest due job has been due.
    pub oldest_due_at: Option<Timestamp>,
    /// Whether a job of this shard is being processed now, of the 10,000 oldest that are.
    pub is_served: bool,
}

/// A job whose log does not add up to its row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditProblem {
    /// The job.
    pub job: JobId,
    /// What the row says.
    pub row: Value,
    /// What the log says.
    pub log: Value,
}

/// A page of an audit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditPage {
    /// How many jobs were read.
    pub audited: u64,
    /// Those that do not add up.
    pub problems: Vec<AuditProblem>,
    /// Pass this to read on; `None` at the end.
    pub next: Option<JobId>,
}

static SERVER: Statement = Statement {
    name: "inspect.server",
    sql: "-- inspect.server
SELECT current_setting('server_version') AS version,
       (SELECT max(extract(epoch FROM now() - activity.xact_start))::int8
          FROM pg_catalog.pg_stat_activity AS activity
         WHERE activity.datname = current_database() AND activity.pid <> pg_backend_pid()) AS oldest",
    params: &[],
    columns: &[maybe("version", Type::TEXT), maybe("oldest", Type::INT8)],
};

static USER: Statement = Statement {
    name: "inspect.user",
    sql: "-- inspect.user
SELECT current_user::text AS name,
       coalesce((SELECT pg_has_role(class.relowner, 'USAGE') FROM pg_catalog.pg_class AS class
                  WHERE class.oid = to_regclass('public.jobs')), false) AS is_owner,
       ARRAY(SELECT role.name FROM unnest(ARRAY['clipbase_api', 'clipbase_worker', 'clipbase_reader']) AS role (name)
              WHERE pg_has_role(to_regrole(role.name), 'USAGE')) AS roles,
       pg_has_role('pg_read_all_stats', 'USAGE') AS sees_sessions",
    params: &[],
    columns: &[
        maybe("name", Type::TEXT),
        maybe("is_owner", Type::BOOL),
        maybe("roles", Type::TEXT_ARRAY),
        maybe("sees_sessions", Type::BOOL),
    ],
};

static QUEUES: Statement = Statement {
    name: "inspect.queues",
    sql: concat!(
        "-- inspect.queues
WITH RECURSIVE",
        live_shards_cte!(),
        ",
busy AS MATERIALIZED (
    -- Bounded, and in the index's order, so that no plan reads the table instead.
    SELECT DISTINCT running.shard
      FROM (SELECT job.shard FROM public.jobs AS job WHERE job.status = 'processing'
             ORDER BY job.created_at, job.id LIMIT 10000) AS running
)
SELECT live.shard,
       (SELECT min(oldest.run_at) FROM unnest(ARRAY[0, 1, 2]) AS rank (n)
         CROSS JOIN LATERAL (SELECT job.run_at FROM public.jobs AS job
                              WHERE ",
        in_queue!(),
        " AND job.shard = live.shard
                                AND job.priority_rank = rank.n AND job.run_at <= now()
                              ORDER BY job.run_at LIMIT 1) AS oldest) AS oldest_due_at,
       EXISTS (SELECT FROM busy WHERE busy.shard = live.shard) AS is_served
  FROM live WHERE live.shard IS NOT NULL"
    ),
    params: &[],
    columns: &[
        always("shard", Type::INT4),
        maybe("oldest_due_at", Type::TIMESTAMPTZ),
        maybe("is_served", Type::BOOL),
    ],
};

static LOST_LEASES: Statement = Statement {
    name: "inspect.lost_leases",
    sql: "-- inspect.lost_leases
SELECT count(*) AS count
  FROM public.jobs AS job
 WHERE job.status = 'processing'
   AND greatest(job.lease_expires_at, job.last_heartbeat_at + make_interval(secs => $1)) < now()",
    params: &[Type::FLOAT8],
    columns: &[maybe("count", Type::INT8)],
};

// The fold: the log's `set` objects, laid over each other in order, from a new job's values on.
static AUDIT: Statement = Statement {
    name: "inspect.audit",
    sql: "-- inspect.audit
SELECT job.id, actual.state AS actual, folded.state AS folded, actual.state = folded.state AS is_sound
  FROM (SELECT * FROM public.jobs WHERE id > $1 ORDER BY id LIMIT $2) AS job
 CROSS JOIN LATERAL (
    SELECT jsonb_build_object(
        'events', job.event_seq, 'first', 1, 'last', job.event_seq,
        'status', job.status, 'lease', job.lease, 'attempts', job.attempts, 'worker_id', job.worker_id,
        'error_code', job.error_code, 'error_message', left(job.error_message, 2000),
        'result_video_key', job.result_video_key, 'result_srt_key', job.result_srt_key,
        'cancel_requested', job.cancel_requested_at IS NOT NULL,
        'source_deleted', job.source_deleted_at IS NOT NULL) AS state
  ) AS actual
 CROSS JOIN LATERAL (
    SELECT '{\"lease\": 0, \"attempts\": 0, \"worker_id\": null, \"error_code\": null, \"error_message\": null,
             \"result_video_key\": null, \"result_srt_key\": null, \"cancel_requested\": false,
             \"source_deleted\": false}'::jsonb
           || coalesce((SELECT jsonb_object_agg(part.key, part.value ORDER BY event.seq)
                          FROM public.job_events AS event
                         CROSS JOIN LATERAL jsonb_each(event.data -> 'set') AS part
                         WHERE event.job_id = job.id AND jsonb_typeof(event.data -> 'set') = 'object'
                           -- An adopted job's older events may hold anything under that key.
                           AND part.key IN ('status', 'lease', 'attempts', 'worker_id', 'error_code', 'error_message',
                                            'result_video_key', 'result_srt_key', 'cancel_requested',
                                            'source_deleted')), '{}')
           || (SELECT jsonb_build_object('events', count(*), 'first', min(event.seq), 'last', max(event.seq))
                 FROM public.job_events AS event WHERE event.job_id = job.id) AS state
  ) AS folded
 ORDER BY job.id",
    params: &[Type::UUID, Type::INT8],
    columns: &[
        always("id", Type::UUID),
        maybe("actual", Type::JSONB),
        maybe("folded", Type::JSONB),
        maybe("is_sound", Type::BOOL),
    ],
};

/// Questions about the database. A cheap value: make one where you need it.
#[derive(Clone, Copy, Debug)]
pub struct Inspect<'a> {
    inner: &'a Inner,
}

impl<'a> Inspect<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    fn database(self) -> &'a Database {
        &self.inner.database
    }

    /// Describes the server.
    ///
    /// # Errors
    /// The database's.
    pub async fn server(&self) -> Result<Server> {
        let rows = self.database().rows(&SERVER, &[]).await?;
        let mut reader = Reader::new(rows.first().ok_or(Error::NotFound { what: "server" })?);
        Ok(Server {
            version: reader.take()?,
            oldest_transaction_secs: reader.take()?,
        })
    }

    /// Tells whom the database takes us for, and which of the roles that clipbase ships this user has.
    ///
    /// # Errors
    /// The database's.
    pub async fn user(&self) -> Result<User> {
        let rows = self.database().rows(&USER, &[]).await?;
        let mut reader = Reader::new(rows.first().ok_or(Error::NotFound { what: "user" })?);
        Ok(User {
            name: reader.take()?,
            is_owner: reader.take()?,
            roles: reader.take()?,
            sees_sessions: reader.take()?,
        })
    }

    /// Lists the shards that have queued jobs.
    ///
    /// # Errors
    /// The database's.
    pub async fn queues(&self) -> Result<Vec<ShardQueue>> {
        let rows = self.database().rows(&QUEUES, &[]).await?;
        rows.iter()
            .map(|row| {
                let mut reader = Reader::new(row);
                Ok(ShardQueue {
                    shard: reader.take()?,
                    oldest_due_at: reader.time()?,
                    is_served: reader.take()?,
                })
            })
            .collect()
    }

    /// Counts jobs whose lease has run out and that nobody has reaped yet.
    ///
    /// # Errors
    /// The database's.
    pub async fn lost_leases(&self) -> Result<i64> {
        let ttl = self.inner.settings.lease_ttl.as_secs_f64();
        let rows = self.database().rows(&LOST_LEASES, &[&ttl]).await?;
        Reader::new(rows.first().ok_or(Error::NotFound { what: "count" })?).take()
    }

    /// Compares each job's row with what its log adds up to, a page of up to [`AUDIT_PAGE_MAX`] jobs.
    ///
    /// # Errors
    /// `INVALID_INPUT` for the limit.
    pub async fn audit(&self, after: Option<JobId>, limit: u32) -> Result<AuditPage> {
        if !(1..=AUDIT_PAGE_MAX).contains(&limit) {
            return Err(Error::invalid("limit", "must be 1 to 1000"));
        }
        let after = after.map_or(Uuid::nil(), |id| id.as_uuid());
        let rows = self
            .database()
            .rows(&AUDIT, &[&after, &i64::from(limit)])
            .await?;
        let mut page = AuditPage {
            audited: rows.len() as u64,
            problems: Vec::new(),
            next: None,
        };
        let is_full = rows.len() >= limit as usize;
        for row in &rows {
            let mut reader = Reader::new(row);
            let job = JobId::from_uuid(reader.take()?);
            let (actual, folded): (Value, Value) = (reader.take()?, reader.take()?);
            if !reader.take::<Option<bool>>()?.unwrap_or(false) {
                page.problems.push(AuditProblem {
                    job,
                    row: actual,
                    log: folded,
                });
            }
            page.next = is_full.then_some(job);
        }
        Ok(page)
    }

    /// Describes every statement on the live schema and tells what differs from its declaration: an empty
    /// list means that this version fits this database. Needs a direct or session connection.
    ///
    /// # Errors
    /// `DB_UNAVAILABLE`.
    pub async fn drift(&self) -> Result<Vec<String>> {
        let mut connection = self.database().connection().await?;
        let client = connection.client();
        let mut drift = Vec::new();
        for statement in of(migrate::installed(client).await?) {
            match client.prepare_typed(statement.sql, statement.params).await {
                Ok(prepared) => drift.extend(differences(statement, &prepared)),
                Err(error) => {
                    let state = error
                        .code()
                        .map_or("?", tokio_postgres::error::SqlState::code);
                    drift.push(format!(
                        "{}: does not run here (SQLSTATE {state})",
                        statement.name
                    ));
                }
            }
        }
        Ok(drift)
    }
}

fn differences(statement: &Statement, prepared: &tokio_postgres::Statement) -> Vec<String> {
    let mut found = Vec::new();
    if prepared.params() != statement.params {
        found.push(format!(
            "{}: the parameters are {:?}",
            statement.name,
            prepared.params()
        ));
    }
    let described: Vec<(&str, &Type)> = prepared
        .columns()
        .iter()
        .map(|column| (column.name(), column.type_()))
        .collect();
    let declared: Vec<(&str, &Type)> = statement
        .columns
        .iter()
        .map(|Column { name, kind, .. }| (*name, kind))
        .collect();
    if described != declared {
        found.push(format!("{}: the columns are {described:?}", statement.name));
    }
    found
}
