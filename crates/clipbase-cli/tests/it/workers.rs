//! Two `clipbase work` on one database: one is killed in the middle of ffmpeg, the other finishes its job.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Child;

use clipbase_testkit::wait_until;
use serde_json::Value;
use tokio_postgres::Client;

use crate::support::{Answer, Gate, Place, Stop, answer, kill, signal};

/// The progress with which ffmpeg starts: what is above it was reported by ffmpeg itself.
const CUTTING_FROM: i32 = 14;

const CREATE: [&str; 7] = ["jobs", "create", "talk.mp4", "--start", "2", "--end", "18"];

/// An ffmpeg that takes as long as the video lasts, and leaves its process id in a file.
struct SlowFfmpeg {
    program: PathBuf,
    pid: PathBuf,
}

impl SlowFfmpeg {
    fn new(place: &Place) -> Self {
        let pid = place.path("data/ffmpeg.pid");
        let text = format!(
            "#!/bin/sh\necho $$ >'{pid}'\nexec /usr/bin/env ffmpeg -re \"$@\"\n",
            pid = pid.display()
        );
        let program = place.script("slow-ffmpeg", &text);
        Self { program, pid }
    }

    /// Ends the ffmpeg that a killed worker left behind, which must still be at work.
    fn end(&self) {
        signal("KILL", fs::read_to_string(&self.pid).unwrap().trim());
        fs::remove_file(&self.pid).unwrap();
    }
}

/// Starts a worker with this data directory, and waits until it is at work.
fn start(place: &Place, data: &Path, ffmpeg: Option<&Path>) -> Child {
    let mut command = place.command(&["work", "--until-idle"]);
    command.env("CLIPBASE_DATA_DIR", data);
    if let Some(ffmpeg) = ffmpeg {
        command.env("FFMPEG_BIN", ffmpeg);
    }
    let mut child = command.spawn().unwrap();
    // Its own words, unbuffered: what it says later must stay in the pipe.
    let mut line = String::new();
    let mut stderr = BufReader::with_capacity(1, child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    child.stderr = Some(stderr.into_inner());
    assert!(line.contains("is at work"), "{line}");
    child
}

async fn row(raw: &Client) -> (String, i32, i32) {
    let row = raw
        .query_one("SELECT status::text, progress, lease FROM jobs", &[])
        .await
        .unwrap();
    (row.get(0), row.get(1), row.get(2))
}

/// A job that a worker is killed at, in the middle of its ffmpeg: part of the clip was made and reported.
/// Another worker, with the given data directory, was there all the time.
async fn killed_in_the_middle(place: &Place, raw: &Client, other: &Path, meanwhile: &str) -> Child {
    place.run(&["bootstrap"]).good();
    place.run(&CREATE).good();
    let slow = SlowFfmpeg::new(place);
    let first = start(place, &place.path("data"), Some(&slow.program));
    wait_until("the job is at work", async || {
        row(raw).await.0 == "processing"
    })
    .await;
    let second = start(place, other, None);
    wait_until("a part of the clip is made", async || {
        row(raw).await.1 > CUTTING_FROM
    })
    .await;
    let (status, progress, lease) = row(raw).await;
    assert_eq!((status.as_str(), lease), ("processing", 1));
    assert!(progress < 95, "{progress}");
    // It holds its lock and beats no more; `meanwhile` is the last that happens while it lives.
    signal("STOP", &first.id().to_string());
    raw.batch_execute(meanwhile).await.unwrap();
    kill(first);
    slow.end();
    second
}

/// Done once, by the second lease, with a whole log and one result.
#[track_caller]
fn assert_done_once(place: &Place, answered: Answer) -> Value {
    let answered = answered.good();
    assert!(answered.out.starts_with("1 done, 0 failed"), "{answered:?}");
    let job = place.only_job();
    assert_eq!(
        (&job["status"], &job["progress"]),
        (&"done".into(), &100.into())
    );
    assert_eq!((&job["attempts"], &job["lease"]), (&2.into(), &2.into()));
    let expected = ["created", "claimed", "requeued", "claimed", "finished"];
    assert_eq!(place.events(&job), expected);
    let id = job["id"].as_str().unwrap();
    let clip = format!("results/{id}/2/clip.mp4");
    assert_eq!(place.objects(), [clip, format!("sources/{id}/source.mp4")]);
    let doctor = place.run(&["doctor", "--audit", "0"]).good();
    assert!(
        doctor.out.contains("1 jobs: each log adds up"),
        "{doctor:?}"
    );
    job
}

#[tokio::test]
async fn a_worker_killed_during_ffmpeg_is_replaced_at_once_on_the_same_machine() {
    let place = Place::on_a_database().await;
    let raw = place.database.as_ref().unwrap().raw().await;
    // Its lock alone tells that it is dead: its lease has a long time to go.
    let longer = "UPDATE jobs SET lease_expires_at = now() + interval '1 day'";
    let second = killed_in_the_middle(&place, &raw, &place.path("data"), longer).await;
    let job = assert_done_once(&place, answer(second));
    place.assert_tidy();

    // Had it been killed a moment later, its clip would lie beside the one that counts.
    let id = job["id"].as_str().unwrap();
    let stale = place.path(&format!("data/storage/results/{id}/clip.mp4"));
    let counts = place.path(&format!("data/storage/results/{id}/2/clip.mp4"));
    fs::copy(&counts, &stale).unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(26 * 3600);
    let file = fs::OpenOptions::new().write(true).open(&stale).unwrap();
    file.set_modified(long_ago).unwrap();
    place.run(&["cleanup", "--reconcile"]).good();
    assert!(!stale.exists() && counts.exists());
    place.run(&["jobs", "delete", id]).good();
    place.run(&["cleanup"]).good();
    assert!(place.objects().is_empty());
}

#[tokio::test]
async fn a_worker_killed_on_another_machine_is_replaced_when_its_lease_ends() {
    let place = Place::on_a_database().await;
    let raw = place.database.as_ref().unwrap().raw().await;
    // Another machine has a data directory of its own, and the same storage.
    let other = place.path("data/other-machine");
    fs::create_dir_all(place.path("data/storage")).unwrap();
    fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink(place.path("data/storage"), other.join("storage")).unwrap();
    let second = killed_in_the_middle(&place, &raw, &other, "").await;
    assert_eq!(row(&raw).await.0, "processing", "nobody can know yet");
    let sql = "UPDATE jobs SET lease_expires_at = now() - interval '1 s',
                      last_heartbeat_at = now() - interval '61 s'";
    assert_eq!(raw.execute(sql, &[]).await.unwrap(), 1);
    assert_done_once(&place, answer(second));
    // What the dead one left on its machine goes with the next worker there.
    assert!(fs::read_dir(place.path("data/workers")).unwrap().count() > 0);
    place.run(&["work", "--until-idle"]).good();
    place.assert_tidy();
    for folder in ["scratch", "workers"] {
        assert_eq!(
            fs::read_dir(other.join(folder)).unwrap().count(),
            0,
            "{folder}"
        );
    }
}

#[tokio::test]
async fn a_worker_that_is_stopped_hands_its_job_back_at_no_cost_of_an_attempt() {
    for name in ["INT", "TERM"] {
        let place = Place::on_a_database().await;
        place.run(&["bootstrap"]).good();
        place.run(&CREATE).good();
        let gate = Gate::new(&place, Stop::Before);
        let child = gate.start(&place, &["work"]);
        gate.reached().await;
        assert_eq!(place.only_job()["attempts"], 1);
        signal(name, &child.id().to_string());
        let answered = answer(child).good();
        assert!(
            answered.out.starts_with("0 done, 0 failed, 1 back"),
            "{answered:?}"
        );
        let job = place.only_job();
        assert_eq!(
            (&job["status"], &job["attempts"]),
            (&"queued".into(), &0.into())
        );
        assert_eq!(place.events(&job), ["created", "claimed", "released"]);
        place.assert_tidy();
        place.run(&["work", "--until-idle"]).good();
        let job = place.only_job();
        assert_eq!(
            (&job["status"], &job["attempts"]),
            (&"done".into(), &1.into())
        );
    }
}
