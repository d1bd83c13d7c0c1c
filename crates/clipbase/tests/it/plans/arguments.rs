//! Values that each statement is really called with, as SQL.

/// A job at work.
const JOB: &str = "'00000000-0000-7000-8000-000000000067'";
const WORKER: &str = "md5('7')::uuid";
const KEY: &str = "md5('key 7')::uuid";

/// The arguments of a statement, for so many jobs where it takes several. Panics for a statement that has none
/// here.
pub(super) fn of(name: &str, count: u32) -> Vec<String> {
    let list: &[&str] = match name {
        "jobs.create" => return create(),
        "jobs.create_many" => return create_many(count),
        "jobs.get" | "jobs.delete" => &[JOB],
        "jobs.list_by_status" => &["'done'", "now() - interval '1 hour'", JOB, "101"],
        "jobs.update" => return update(),
        "jobs.transition" => return transition(),
        "jobs.stats" => &["ARRAY['queued', 'processing', 'done', 'failed']", "10001"],
        "jobs.find_request" | "jobs.forget_request" => &["'scope 3'", "'key 3'"],
        "events.add" => &[JOB, "'note'", "'{}'", "10000"],
        "events.list" | "events.follow" => &[JOB, "0", "100"],
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
            JOB, "'retry'", "1", WORKER, "'X'", "'x'", "604800", "5", "300",
        ],
        "leases.reap" => &["NULL", "60", "100", "604800", "5", "300"],
        "cleanup.expire" | "cleanup.expired" => &["60", "1000"],
        "cleanup.forget_requests" | "cleanup.take_deletions" | "cleanup.due_deletions" => &["1000"],
        "cleanup.announce_upload" => &["'sources/x/source.mp4'", JOB, "86400"],
        "cleanup.confirm_deletions" => return vec![keys(count)],
        "cleanup.fail_deletions" => return vec![keys(count), "'STORAGE_UNAVAILABLE'".to_owned()],
        "cleanup.backlog" | "installation.read" | "inspect.server" | "inspect.queues" => &[],
        "installation.adopt" => &["false", "'here'"],
        "inspect.lost_leases" => &["60"],
        "inspect.audit" => &["'00000000-0000-0000-0000-000000000000'", "1000"],
        "api_keys.create" => &["gen_random_uuid()", "'name'", "'hash'", "'jobs:read'", "60"],
        "api_keys.get" | "api_keys.revoke" | "api_keys.find_hash" => &[KEY],
        "api_keys.list" => &[KEY, "101"],
        "api_keys.rotate" => &[KEY, "gen_random_uuid()", "'hash'", "3600", "60", "60000"],
        "api_keys.take" => &[KEY, "sha256('hash 7')", "60", "60000"],
        _ => panic!("{name} has no arguments to be planned with; add them here"),
    };
    list.iter().map(|text| (*text).to_owned()).collect()
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
