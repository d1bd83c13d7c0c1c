//! Values that each statement is really called with, as SQL.

/// A job at work.
const JOB: &str = "'00000000-0000-7000-8000-000000000067'";
const WORKER: &str = "md5('7')::uuid";
const KEY: &str = "md5('key 7')::uuid";

/// The arguments of a statement, for so many jobs where it takes several. Panics for a statement that has none
/// here.
pub(crate) fn of(name: &str, count: u32) -> Vec<String> {
    if name.starts_with("cleanup.") {
        return cleanup(name, count);
    }
    if name.starts_with("api_keys.") {
        return api_keys(name);
    }
    let list: &[&str] = match name {
        "jobs.create" => return create(),
        "jobs.create_many" => return create_many(count),
        "jobs.get" | "jobs.outcome" | "jobs.delete" => &[JOB],
        "jobs.list" => &[
            "ARRAY['queued', 'processing', 'done', 'failed']",
            "now() - interval '1 hour'",
            JOB,
            "101",
        ],
        "jobs.list_by_status" => &["'done'", "now() - interval '1 hour'", JOB, "101"],
        "jobs.select" => &[
            "'failed'",
            "NULL",
            "'00000000-0000-0000-0000-000000000000'",
            "NULL",
            "10000",
            "'FFMPEG_FAILED'",
            "1000",
        ],
        "jobs.move_many" => {
            let keep = || "604800".to_owned();
            return vec![jobs(count), "'cancel'".to_owned(), keep(), keep()];
        }
        "jobs.update" => return update(),
        "jobs.transition" => return transition(),
        "jobs.throughput" => &["60", "10001"],
        "jobs.stats" => &["ARRAY['queued', 'processing', 'done', 'failed']", "10001"],
        "jobs.find_request" | "jobs.forget_request" => &["'scope 3'", "'key 3'"],
        "events.add" => &[JOB, "'note'", "'{}'", "10000"],
        "events.list" | "events.follow" => &[JOB, "0", "100"],
        "events.follow_many" => {
            return vec![jobs(count), all(count, "0", "int4"), "4".to_owned()];
        }
        "leases.claim" => &[
            "'{}'",
            if count == 1 { "1" } else { "10" },
            "3",
            WORKER,
            "60",
        ],
        "leases.claim_job" => &[JOB, WORKER, "60"],
        "leases.turn" => return turn(count),
        "leases.finish" => return finish(count),
        "leases.heartbeat" => return heartbeat(count),
        "leases.log" => &[JOB, "1", WORKER, "'note'", "'{}'", "10000"],
        "leases.surrender" => &[
            JOB, "'retry'", "1", WORKER, "'X'", "'x'", "604800", "5", "300", "NULL",
        ],
        "leases.reap" => &["NULL", "60", "100", "604800", "5", "300", "3600"],
        "installation.read" | "migrate.applied" | "inspect.server" | "inspect.user"
        | "inspect.queues" => &[],
        "wakeups.notify" => &["''"],
        "installation.adopt" => &["false", "'here'"],
        "inspect.lost_leases" => &["60"],
        "inspect.audit" => &["'00000000-0000-0000-0000-000000000000'", "1000"],
        _ => unknown(name),
    };
    owned(list)
}

fn api_keys(name: &str) -> Vec<String> {
    let list: &[&str] = match name {
        "api_keys.create" => &["gen_random_uuid()", "'name'", "'hash'", "'jobs:read'", "60"],
        "api_keys.get" | "api_keys.revoke" | "api_keys.find_hash" => &[KEY],
        "api_keys.list" => &[KEY, "101"],
        "api_keys.rotate" => &[KEY, "gen_random_uuid()", "'hash'", "3600", "60", "60000"],
        "api_keys.take" => &[KEY, "sha256('hash 7')", "60", "60000"],
        "api_keys.still_hold" => {
            // As many as there are streams of different keys.
            let keys: Vec<String> = (1..=20).map(|i| format!("md5('key {i}')::uuid")).collect();
            return vec![format!("ARRAY[{}]", keys.join(", "))];
        }
        _ => unknown(name),
    };
    owned(list)
}

fn cleanup(name: &str, count: u32) -> Vec<String> {
    let list: &[&str] = match name {
        "cleanup.expire" | "cleanup.expired" => &["60", "1000"],
        "cleanup.forget_requests" | "cleanup.due_deletions" | "cleanup.expire_sources" => &["1000"],
        "cleanup.take_deletions" => &["'results'", "1000"],
        "cleanup.announce_upload" => &["'sources/x/source.mp4'", JOB, "86400", "7200"],
        "cleanup.plan_jobs" | "cleanup.plan_sources" => {
            &["now()", "60", "now() - interval '1 hour'", JOB]
        }
        "cleanup.plan_objects" => &["now()", "60", "'results/5'"],
        "cleanup.judge_objects" => return judge(count),
        "cleanup.named_objects" => &[JOB, "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "1000"],
        "cleanup.still_named" => {
            return vec![
                keys(count),
                jobs(count),
                "90000".to_owned(),
                "now()".to_owned(),
            ];
        }
        "cleanup.confirm_deletions" => return vec![keys(count)],
        "cleanup.fail_deletions" => return vec![keys(count), "'STORAGE_UNAVAILABLE'".to_owned()],
        "cleanup.confirm_turn" | "cleanup.take_turn" => &["3600"],
        "cleanup.backlog" | "cleanup.clock" | "cleanup.objects_table" => &[],
        "cleanup.due_work" => &["60"],
        _ => unknown(name),
    };
    owned(list)
}

fn unknown(name: &str) -> ! {
    panic!("{name} has no arguments to be planned with; add them here")
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn keys(count: u32) -> String {
    let keys: Vec<String> = (1..=count)
        .map(|n| format!("results/00000000-0000-7000-8000-{n:012x}/clip.mp4"))
        .collect();
    format!("'{{{}}}'", keys.join(","))
}

/// Jobs of every kind.
fn jobs(count: u32) -> String {
    let ids: Vec<String> = (1..=count)
        .map(|n| format!("00000000-0000-7000-8000-{n:012x}"))
        .collect();
    format!("'{{{}}}'", ids.join(","))
}

/// So many times the same value.
fn all(count: u32, value: &str, kind: &str) -> String {
    format!("array_fill({value}::{kind}, ARRAY[{count}])")
}

fn create() -> Vec<String> {
    owned(&[
        "gen_random_uuid()",
        "'normal'",
        "0",
        "'upload'",
        "'sources/x/source.mp4'",
        "NULL",
        "0",
        "1",
        "0",
        "1000",
        "false",
        "false",
        "'auto'",
        "3",
        "NULL",
        "NULL",
        "NULL",
        "'scope 3'",
        "'key 3'",
        "'\\x00'",
        "86400",
        "NULL",
    ])
}

fn create_many(count: u32) -> Vec<String> {
    let mut list = vec![jobs(count)];
    for (value, kind) in [
        ("'normal'", "text"),
        ("0", "int4"),
        ("'upload'", "text"),
        ("'sources/x'", "text"),
        ("NULL", "text"),
        ("0", "int8"),
        ("1000", "int8"),
        ("false", "bool"),
        ("false", "bool"),
        ("'auto'", "text"),
        ("3", "int4"),
        ("NULL", "timestamptz"),
        ("NULL", "timestamptz"),
        ("NULL", "jsonb"),
        ("NULL", "float8"),
    ] {
        list.push(all(count, value, kind));
    }
    list
}

fn update() -> Vec<String> {
    let mut list = owned(&[JOB, "'high'"]);
    list.extend(owned(&["NULL"; 3]));
    list.push("false".to_owned());
    list.extend(owned(&["NULL"; 8]));
    list.extend(owned(&["false", "'{}'", "10000"]));
    list
}

fn transition() -> Vec<String> {
    owned(&[
        JOB,
        "'become done'",
        "1",
        WORKER,
        "NULL",
        "NULL",
        "'results/x/clip.mp4'",
        "NULL",
        "NULL",
        "'{}'",
        "'worker'",
        "false",
        "604800",
        "604800",
        "3600",
    ])
}

fn finish(count: u32) -> Vec<String> {
    vec![
        jobs(count),
        all(count, "1", "int4"),
        all(count, WORKER, "uuid"),
        all(count, "'results/x/clip.mp4'", "text"),
        all(count, "NULL", "text"),
        all(count, "NULL", "jsonb"),
        "604800".to_owned(),
        "3600".to_owned(),
    ]
}

fn judge(count: u32) -> Vec<String> {
    vec![
        keys(count),
        jobs(count),
        all(count, "now()", "timestamptz"),
        "90000".to_owned(),
        "true".to_owned(),
    ]
}

fn turn(count: u32) -> Vec<String> {
    let mut list = owned(&["'{}'", &count.to_string(), "3", WORKER, "60"]);
    list.extend(finish(count));
    list
}

fn heartbeat(count: u32) -> Vec<String> {
    vec![
        jobs(count),
        all(count, "1", "int4"),
        all(count, WORKER, "uuid"),
        all(count, "40", "int4"),
        "60".to_owned(),
    ]
}
