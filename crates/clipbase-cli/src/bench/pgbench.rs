//! The yardstick: the library's own statements, run by `pgbench` in prepared mode over as many connections.
//!
//! `pgbench` carries numbers and texts from one transaction to the next, but no rows. So ids come from where
//! it can reach them: a create makes them in SQL, a finish reads them from a table that numbers the claimed
//! jobs, and a turn answers with one row of arrays, which `\gset` keeps for the next turn.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use clipbase::Clipbase;
use clipbase::db::Statement;
use clipbase::db::statement::all;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::BenchError;
use super::case::{Case, Step};

/// A UUID of version 7, made in SQL: what the library makes in the client.
const NEW_ID: &str = "encode(set_byte(overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send(\
    (extract(epoch FROM clock_timestamp()) * 1000)::int8) FROM 3) FROM 1 FOR 6), 6, 112), 'hex')::uuid";
/// A worker's id.
const WORKER: &str = "'00000000-0000-4000-8000-00000000000a'";
/// A week, in seconds.
const KEEP: &str = "604800";

/// The program.
#[derive(Debug)]
pub(crate) struct Pgbench {
    program: PathBuf,
}

impl Pgbench {
    /// Looks in these folders, then in those of PATH.
    #[expect(
        clippy::disallowed_methods,
        reason = "a search for programs means the caller's PATH"
    )]
    pub(crate) fn find(folders: &[PathBuf]) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        folders
            .iter()
            .cloned()
            .chain(std::env::split_paths(&path))
            .map(|folder| folder.join("pgbench"))
            .find(|program| program.is_file())
            .map(|program| Self { program })
    }

    /// Runs the case and returns how long it took, without connecting.
    pub(crate) async fn run(
        &self,
        url: &str,
        case: &Case,
        jobs: u32,
    ) -> Result<Duration, BenchError> {
        let (url, password) = without_password(url);
        let turns = transactions(case, jobs);
        let mut command = Command::new(&self.program);
        command
            .args(["-n", "-M", "prepared", "-f", "/dev/stdin"])
            .args([
                "-c",
                &case.tasks.to_string(),
                "-j",
                &case.tasks.min(2).to_string(),
            ])
            .args(["-t", &turns.to_string(), "-D", "turn=-1"]);
        for carried in CARRIED {
            command.arg("-D").arg(format!("{carried}={{}}"));
        }
        if let Some(password) = password {
            // The command line is everybody's to read; the environment is ours.
            command.env("PGPASSWORD", password);
        }
        command
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|_| BenchError::Pgbench("it does not start"))?;
        if let Some(mut input) = child.stdin.take() {
            let written = input.write_all(script(case).as_bytes()).await;
            written.map_err(|_| BenchError::Pgbench("it takes no script"))?;
        }
        let output = child.wait_with_output().await;
        let output = output.map_err(|_| BenchError::Pgbench("its answer is lost"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || complaint.contains("aborted") {
            return Err(BenchError::Pgbench("a statement of the script failed"));
        }
        let rate: f64 = text
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
            .ok_or(BenchError::Pgbench("it says no rate"))?;
        Ok(Duration::from_secs_f64(
            f64::from(turns * case.tasks) / rate.max(0.001),
        ))
    }
}

/// What a turn keeps for the next one.
const CARRIED: [&str; 4] = ["ids", "leases", "workers", "videos"];

/// Transactions of each client. A turn's last one only finishes.
fn transactions(case: &Case, jobs: u32) -> u32 {
    jobs.div_ceil(case.batch * case.tasks) + u32::from(case.step == Step::Turn)
}

/// Numbers the claimed jobs, so that the clients of a finish find theirs.
pub(crate) async fn prepare(clipbase: &Clipbase, case: &Case) -> Result<(), BenchError> {
    if case.step != Step::Finish {
        return Ok(());
    }
    let sql = "CREATE TABLE public.bench_jobs AS
                   SELECT row_number() OVER (ORDER BY id) - 1 AS n, id, lease, worker_id FROM public.jobs;
               CREATE UNIQUE INDEX ON public.bench_jobs (n)";
    let mut connection = clipbase.database().connection().await?;
    let made = connection.client().batch_execute(sql).await;
    made.map_err(|_| BenchError::Scratch("prepared"))
}

/// How many jobs are where the case moves them to.
pub(crate) async fn handled(clipbase: &Clipbase, case: &Case) -> Result<u64, BenchError> {
    let sql = match case.step {
        Step::Create => "SELECT count(*) FROM public.jobs",
        Step::Claim => "SELECT count(*) FROM public.jobs WHERE status = 'processing'",
        Step::Finish | Step::Turn => "SELECT count(*) FROM public.jobs WHERE status = 'done'",
    };
    let mut connection = clipbase.database().connection().await?;
    let failed = BenchError::Scratch("counted");
    let Ok(row) = connection.client().query_one(sql, &[]).await else {
        return Err(failed);
    };
    row.try_get::<_, i64>(0)
        .ok()
        .and_then(|count| u64::try_from(count).ok())
        .ok_or(failed)
}

fn script(case: &Case) -> String {
    let batch = case.batch;
    let many = batch > 1;
    match case.step {
        Step::Create if many => with_arguments("jobs.create_many", &create_many(batch)) + ";\n",
        Step::Create => with_arguments("jobs.create", &create()) + ";\n",
        Step::Claim => with_arguments("leases.claim", &claim(batch)) + ";\n",
        Step::Finish => {
            let pick = format!(
                "\\set turn :turn + 1\n\\set first (:turn * {} + :client_id) * {batch}\n",
                case.tasks
            );
            pick + &with_arguments("leases.finish", &finish(batch)) + ";\n"
        }
        Step::Turn => turn(batch),
    }
}

/// A declared statement with SQL expressions in the places of its parameters, each cast to the declared type.
fn with_arguments(name: &str, arguments: &[String]) -> String {
    let Some(statement) = all().find(|statement| statement.name == name) else {
        return String::new();
    };
    // An argument too few would leave its place to be taken for another's: no script then, and no measurement.
    if statement.params.len() != arguments.len() {
        return String::new();
    }
    // From the last to the first, so that $1 does not match in $12.
    let places = statement.params.iter().zip(arguments).enumerate().rev();
    places.fold(
        without_comments(statement),
        |sql, (at, (kind, argument))| {
            sql.replace(
                &format!("${}", at + 1),
                &format!("({argument})::{}", kind.name()),
            )
        },
    )
}

fn without_comments(statement: &Statement) -> String {
    let lines: Vec<&str> = statement
        .sql
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect();
    lines.join("\n")
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn create() -> Vec<String> {
    let mut list = owned(&[NEW_ID, "'normal'", "0", "'upload'"]);
    list.push(format!("'sources/' || {NEW_ID} || '/source.mp4'"));
    list.extend(owned(&[
        "NULL", "0", "10", "0", "10000", "false", "false", "'auto'", "3",
    ]));
    list.extend(owned(&["NULL"; 8]));
    list
}

fn create_many(batch: u32) -> Vec<String> {
    let made = |value: &str| {
        format!("ARRAY(SELECT {value} FROM generate_series(1, {batch}) AS n WHERE n > 0)")
    };
    let key = format!("'sources/' || {NEW_ID} || '/source.mp4'");
    let same = |value: &str, kind: &str| format!("array_fill({value}::{kind}, ARRAY[{batch}])");
    let mut list = vec![
        made(NEW_ID),
        same("'normal'", "text"),
        same("0", "int4"),
        same("'upload'", "text"),
    ];
    list.push(made(&key));
    for (value, kind) in [
        ("NULL", "text"),
        ("0", "int8"),
        ("10000", "int8"),
        ("false", "bool"),
        ("false", "bool"),
        ("'auto'", "text"),
        ("3", "int4"),
        ("NULL", "timestamptz"),
        ("NULL", "timestamptz"),
        ("NULL", "jsonb"),
        ("NULL", "float8"),
    ] {
        list.push(same(value, kind));
    }
    list
}

fn claim(batch: u32) -> Vec<String> {
    owned(&["'{}'", &batch.to_string(), "0", WORKER, "60"])
}

fn finish(batch: u32) -> Vec<String> {
    let mine =
        format!("FROM public.bench_jobs WHERE n >= :first AND n < :first + {batch} ORDER BY n");
    vec![
        format!("ARRAY(SELECT id {mine})"),
        format!("ARRAY(SELECT lease {mine})"),
        format!("ARRAY(SELECT worker_id {mine})"),
        format!("ARRAY(SELECT 'results/' || id || '/clip.mp4' {mine})"),
        "'{}'".to_owned(),
        "'{}'".to_owned(),
        KEEP.to_owned(),
        "NULL".to_owned(),
    ]
}

/// The turn, with its answer folded into one row.
fn turn(batch: u32) -> String {
    let mut list = claim(batch);
    list.extend(CARRIED.iter().map(|name| format!(":{name}")));
    list.extend(owned(&["'{}'", "'{}'", KEEP, "NULL"]));
    let sql = with_arguments("leases.turn", &list);
    let head = sql
        .rsplit_once("\nSELECT outcome, id,")
        .map_or("", |(head, _)| head);
    format!(
        "{head}
SELECT coalesce(array_agg(id ORDER BY id), '{{}}') AS ids,
       coalesce(array_agg(lease ORDER BY id), '{{}}') AS leases,
       coalesce(array_agg(worker_id ORDER BY id), '{{}}') AS workers,
       coalesce(array_agg('results/' || id || '/clip.mp4' ORDER BY id), '{{}}') AS videos,
       (SELECT count(*) FROM outcomes) AS outcomes
  FROM claimed \\gset\n"
    )
}

/// Takes the password out of a URL.
fn without_password(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), None);
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let Some((login, host)) = authority.rsplit_once('@') else {
        return (url.to_owned(), None);
    };
    match login.split_once(':') {
        Some((user, password)) => (
            format!("{scheme}://{user}@{host}{tail}"),
            Some(decoded(password)),
        ),
        None => (url.to_owned(), None),
    }
}

fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let escaped = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
            }
            None => bytes.extend_from_slice(format!("%{part}").as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_goes_into_the_environment() {
        let (url, password) = without_password("postgres://u:p%40w@h:1/db?x=1");
        assert_eq!(url, "postgres://u@h:1/db?x=1");
        assert_eq!(password.as_deref(), Some("p@w"));
        assert_eq!(without_password("postgresql:///db?host=%2Ftmp").1, None);
    }

    #[test]
    fn every_script_has_all_its_arguments() {
        for case in super::super::case::CASES {
            let script = script(&case);
            assert!(script.len() > 100, "{case:?}");
            assert!(!script.contains('$'), "{case:?}: {script}");
        }
    }
}
