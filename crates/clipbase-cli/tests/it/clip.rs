//! The main job where all goes well.

use std::fs;

use clipbase_testkit::wait_until;

use crate::support::{Gate, Place, Stop, answer, duration};

const CLIP: [&str; 7] = [
    "clip",
    "talk.mp4",
    "--start",
    "00:00:05",
    "--end",
    "12.5",
    "--subtitles",
];

fn json_clip() -> Vec<&'static str> {
    CLIP.iter().copied().chain(["--json"]).collect()
}

#[tokio::test]
async fn a_clip_is_made_stored_and_copied_out() {
    let place = Place::on_a_database().await;
    let done = place.json(&CLIP);
    let job = &done["job"];
    let id = job["id"].as_str().unwrap();
    assert_eq!(job["status"], "done");
    assert_eq!(job["progress"], 100);
    assert_eq!(job["attempts"], 1);
    assert_eq!(done["was_done_before"], false);
    assert_eq!(done["video"], place.path("talk-clip.mp4").to_str().unwrap());
    assert_eq!(
        done["subtitles"],
        place.path("talk-clip.srt").to_str().unwrap()
    );

    let stored = [
        format!("results/{id}/clip.mp4"),
        format!("results/{id}/clip.srt"),
        format!("sources/{id}/source.mp4"),
    ];
    assert_eq!(place.objects(), stored);
    assert_eq!(job["result_video_key"], stored[0]);
    assert_eq!(job["source_key"], stored[2]);
    assert_eq!(place.only_job(), *job);
    assert_eq!(place.events(job), ["created", "claimed", "finished"]);

    assert_eq!(place.files(), ["talk-clip.mp4", "talk-clip.srt"]);
    assert!((duration(&place.path("talk-clip.mp4")) - 7.5).abs() < 0.1);
    let srt = fs::read_to_string(place.path("talk-clip.srt")).unwrap();
    assert!(
        srt.starts_with("1\n00:00:00,000 --> 00:00:00,750\nHello number 3\n"),
        "{srt}"
    );
    place.assert_tidy();
}

#[tokio::test]
async fn the_same_command_again_copies_the_clip_out_and_makes_no_second_job() {
    let place = Place::on_a_database().await;
    let first = place.run(&CLIP).good();
    let names = format!(
        "{}\n{}\n",
        place.path("talk-clip.mp4").display(),
        place.path("talk-clip.srt").display()
    );
    assert_eq!((first.out, first.err), (names.clone(), String::new()));
    let clip = fs::read(place.path("talk-clip.mp4")).unwrap();
    fs::remove_file(place.path("talk-clip.mp4")).unwrap();

    let second = place.run(&CLIP).good();
    assert_eq!(second.out, names);
    assert!(
        second.err.starts_with("done before; copied out again"),
        "{second:?}"
    );
    assert_eq!(fs::read(place.path("talk-clip.mp4")).unwrap(), clip);
    place.only_job();

    let again: Vec<&str> = CLIP.iter().copied().chain(["--again"]).collect();
    assert_eq!(place.json(&again)["was_done_before"], false);
    assert_eq!(place.jobs().len(), 2);
    assert_eq!(place.json(&CLIP)["was_done_before"], true);
    assert_eq!(place.jobs().len(), 2);
}

#[tokio::test]
async fn another_range_or_a_changed_file_is_another_job() {
    let place = Place::on_a_database().await;
    place
        .run(&["clip", "talk.mp4", "--start", "2", "--end", "3"])
        .good();
    place
        .run(&["clip", "talk.mp4", "--start", "2", "--end", "4"])
        .good();
    assert_eq!(place.jobs().len(), 2);
    let talk = fs::read(place.path("talk.mp4")).unwrap();
    fs::write(place.path("talk.mp4"), talk).unwrap();
    place
        .run(&["clip", "talk.mp4", "--start", "2", "--end", "4"])
        .good();
    assert_eq!(place.jobs().len(), 3);
}

#[tokio::test]
async fn a_job_whose_clip_is_gone_is_made_anew() {
    let place = Place::on_a_database().await;
    let done = place.json(&CLIP);
    let key = done["job"]["result_video_key"].as_str().unwrap();
    fs::remove_file(place.path("data/storage").join(key)).unwrap();
    assert_eq!(place.json(&CLIP)["was_done_before"], false);
    assert_eq!(place.jobs().len(), 2);
}

#[tokio::test]
async fn strange_file_names_are_only_names() {
    let place = Place::on_a_database().await;
    for name in [
        "it's a \"talk\".mp4",
        "zwei\nZeilen ä.mp4",
        "-start.mp4",
        "%d:x?.mp4",
        "none",
    ] {
        fs::copy(place.path("talk.mp4"), place.path(name)).unwrap();
        let input = format!("./{name}");
        let done = place.json(&["clip", &input, "--start", "2", "--end", "3"]);
        let stem = name.strip_suffix(".mp4").unwrap_or(name);
        let clip = place.path(&format!("{stem}-clip.mp4"));
        assert_eq!(done["video"], clip.to_str().unwrap());
        assert!(clip.exists());
    }
}

#[tokio::test]
async fn two_of_the_same_command_at_once_share_one_job() {
    let place = Place::on_a_database().await;
    let start = |out: &'static str| {
        let args: Vec<&str> = json_clip().into_iter().chain(["--out", out]).collect();
        place.command(&args).spawn().unwrap()
    };
    let (one, two) = (start("one.mp4"), start("two.mp4"));
    let (one, two) = (answer(one).data(), answer(two).data());
    assert_eq!(one["job"]["id"], two["job"]["id"]);
    let read = |name| fs::read(place.path(name)).unwrap();
    assert_eq!(read("one.mp4"), read("two.mp4"));
    assert_eq!(place.only_job()["attempts"], 1);
    place.assert_tidy();
}

#[tokio::test]
async fn a_clip_that_another_worker_makes_is_waited_for() {
    let place = Place::on_a_database().await;
    let gate = Gate::new(&place, Stop::Before);
    let holder = gate.start(&place, &json_clip());
    gate.reached().await;
    let mut waiting = place.command(&json_clip());
    let waiting = waiting.env("CLIPBASE_LOG", "debug").spawn().unwrap();
    // Whether it finds the job running or just done, the answer is the same.
    wait_until("both workers are alive", async || {
        fs::read_dir(place.path("data/workers")).unwrap().count() == 2
    })
    .await;
    gate.open();
    let (held, waited) = (answer(holder).data(), answer(waiting).data());
    assert_eq!(held["job"], waited["job"]);
    assert_eq!(waited["job"]["attempts"], 1);
}

#[tokio::test]
async fn a_clip_is_made_through_a_transaction_pooler() {
    let place = Place::on_a_pooler().await;
    let mode = ["--database-mode", "transaction"];
    let args: Vec<&str> = json_clip().into_iter().chain(mode).collect();
    let done = answer(place.command(&args).spawn().unwrap()).data();
    assert_eq!(done["job"]["status"], "done");
    let refused = place.run(&["migrate", "--database-mode", "transaction"]);
    refused.refused(4, "CONFIG_INVALID");
}
