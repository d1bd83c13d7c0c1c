//! Killed at any moment, the same command finishes the job, and nothing is done twice.

use std::fs;
use std::process::Child;

use clipbase_testkit::wait_until;

use crate::support::{Gate, Place, Stop, answer, duration, kill, signal};

const CLIP: [&str; 6] = ["clip", "talk.mp4", "--start", "4", "--end", "6.5"];

/// Starts a clip and kills it while its ffmpeg stands at the gate.
async fn killed_at(place: &Place, stop: Stop) {
    let gate = Gate::new(place, stop);
    let child = gate.start(place, &CLIP);
    gate.reached().await;
    assert_eq!(place.only_job()["status"], "processing");
    kill(child);
    gate.end();
}

#[track_caller]
fn assert_finished_after_a_crash(place: &Place) {
    let job = place.only_job();
    assert_eq!(job["status"], "done");
    assert_eq!((&job["attempts"], &job["lease"]), (&2.into(), &2.into()));
    let id = job["id"].as_str().unwrap();
    let clip = format!("results/{id}/2/clip.mp4");
    assert_eq!(place.objects(), [clip, format!("sources/{id}/source.mp4")]);
    let events = place.events(&job);
    assert_eq!(events.first().unwrap(), "created");
    assert_eq!(events.last().unwrap(), "finished");
    assert_eq!(events.iter().filter(|kind| *kind == "claimed").count(), 2);
    assert_eq!(events.iter().filter(|kind| *kind == "finished").count(), 1);
    place.assert_tidy();
}

#[tokio::test]
async fn a_clip_killed_during_ffmpeg_is_finished_by_the_same_command() {
    let place = Place::on_a_database().await;
    killed_at(&place, Stop::Before).await;
    place.run(&CLIP).good();
    assert!((duration(&place.path("talk-clip.mp4")) - 2.5).abs() < 0.1);
    assert_finished_after_a_crash(&place);
}

#[tokio::test]
async fn a_clip_killed_after_ffmpeg_is_finished_by_the_same_command() {
    let place = Place::on_a_database().await;
    killed_at(&place, Stop::After).await;
    place.run(&CLIP).good();
    assert_finished_after_a_crash(&place);
}

#[tokio::test]
async fn a_killed_clip_is_finished_by_a_worker_and_then_copied_out() {
    let place = Place::on_a_database().await;
    killed_at(&place, Stop::Before).await;
    let summary = place.json(&["work", "--until-idle"]);
    assert_eq!((&summary["done"], &summary["lost"]), (&1.into(), &0.into()));
    assert_finished_after_a_crash(&place);
    let again: Vec<&str> = CLIP.iter().copied().chain(["--json"]).collect();
    assert_eq!(place.run(&again).data()["was_done_before"], true);
    assert_finished_after_a_crash(&place);
}

#[tokio::test]
async fn a_clip_killed_during_its_upload_leaves_no_job_and_starts_anew() {
    let place = Place::on_a_database().await;
    // Large enough to be caught half-way; what follows the video is a hole.
    let talk = fs::OpenOptions::new()
        .append(true)
        .open(place.path("talk.mp4"));
    talk.unwrap().set_len(600 << 20).unwrap();
    let child = place.command(&CLIP).spawn().unwrap();
    wait_until("the upload has begun", async || {
        place
            .objects()
            .iter()
            .any(|name| name.starts_with(".incoming/"))
    })
    .await;
    kill(child);
    assert!(place.jobs().is_empty());
    place.run(&CLIP).good();
    assert_eq!(place.only_job()["attempts"], 1);
}

#[tokio::test]
async fn a_clip_killed_about_its_end_is_done_once() {
    let place = Place::on_a_database().await;
    let child = place.command(&CLIP).spawn().unwrap();
    wait_until("the clip is stored", async || {
        place
            .objects()
            .iter()
            .any(|name| name.starts_with("results/"))
    })
    .await;
    kill(child);
    place.run(&CLIP).good();
    let job = place.only_job();
    assert_eq!(job["status"], "done");
    let finished = place
        .events(&job)
        .into_iter()
        .filter(|kind| kind == "finished");
    assert_eq!(finished.count(), 1);
}

#[tokio::test]
async fn an_interrupt_releases_the_job_and_costs_no_attempt() {
    for name in ["INT", "TERM"] {
        let place = Place::on_a_database().await;
        let gate = Gate::new(&place, Stop::Before);
        let child: Child = gate.start(&place, &CLIP);
        gate.reached().await;
        signal(name, &child.id().to_string());
        answer(child).refused(130, "INTERRUPTED");
        let job = place.only_job();
        assert_eq!(
            (&job["status"], &job["attempts"]),
            (&"queued".into(), &0.into())
        );
        assert_eq!(place.events(&job), ["created", "claimed", "released"]);
        place.assert_tidy();
        place.run(&CLIP).good();
        assert_eq!(place.only_job()["attempts"], 1);
    }
}
