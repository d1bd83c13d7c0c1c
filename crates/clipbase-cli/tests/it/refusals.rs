//! Bad input: one line that says what and how to mend it, and nothing left behind.

use std::fs;

use crate::support::{Gate, Place, Stop, answer};

impl Place {
    /// Checks that a refused command has left nothing: no job, no object, no file.
    #[track_caller]
    fn assert_untouched(&self, files: &[&str]) {
        assert!(self.jobs().is_empty());
        assert!(self.objects().is_empty(), "{:?}", self.objects());
        assert_eq!(self.files(), files);
        self.assert_tidy();
    }
}

/// What is asked, the code of the refusal, and what its line must say.
const BAD: [(&[&str], &str, &str); 11] = [
    (
        &["absent.mp4", "--start", "0", "--end", "1"],
        "SOURCE_MISSING",
        "check its name",
    ),
    (
        &["text.mp4", "--start", "0", "--end", "1"],
        "NOT_A_VIDEO",
        "give an MP4",
    ),
    (
        &["list.m3u8", "--start", "0", "--end", "1"],
        "UNSUPPORTED_CONTAINER",
        "give the video",
    ),
    (
        &["talk.mp4", "--start", "5", "--end", "1"],
        "INVALID_INPUT",
        "after the start",
    ),
    (
        &["talk.mp4", "--start", "5", "--end", "5"],
        "INVALID_INPUT",
        "after the start",
    ),
    (
        &["talk.mp4", "--start", "5", "--end", "21"],
        "RANGE_BEYOND_END",
        "20.000 s",
    ),
    (
        &[
            "talk.mp4",
            "--start",
            "1",
            "--end",
            "2",
            "--subtitles",
            "--subtitle-lang",
            "fr",
        ],
        "NO_TEXT_TRACK",
        "it has: eng, deu",
    ),
    (
        &[
            "talk.mp4", "--start", "1", "--end", "2", "--out", "talk.mp4",
        ],
        "INVALID_INPUT",
        "name another file",
    ),
    (
        &["talk.mp4", "--start", "1", "--end", "2", "--out", "data"],
        "INVALID_INPUT",
        "name a file",
    ),
    (
        &[
            "talk.mp4",
            "--start",
            "1",
            "--end",
            "2",
            "--out",
            "no/such.mp4",
        ],
        "INVALID_INPUT",
        "does not exist; make it",
    ),
    (
        &["data", "--start", "1", "--end", "2"],
        "NOT_A_VIDEO",
        "give an MP4",
    ),
];

#[tokio::test]
async fn bad_input_is_refused_in_one_line_and_leaves_nothing() {
    let place = Place::on_a_database().await;
    place.run(&["bootstrap"]).good();
    fs::write(place.path("list.m3u8"), "#EXTM3U\n#EXTINF:10,\ntalk.mp4\n").unwrap();
    fs::write(place.path("text.mp4"), "no video\n").unwrap();
    let files = ["list.m3u8", "text.mp4"];
    for (args, code, hint) in BAD {
        let args: Vec<&str> = ["clip"].iter().chain(args).copied().collect();
        let refused = place.run(&args);
        refused.refused(3, code);
        assert!(refused.err.contains(hint), "{refused:?}");
        let json: Vec<&str> = args.into_iter().chain(["--json"]).collect();
        let refused = place.run(&json);
        assert_eq!((refused.code, refused.err.as_str()), (3, ""));
        let envelope = refused.envelope();
        assert_eq!(
            (&envelope["ok"], &envelope["code"]),
            (&false.into(), &code.into())
        );
        assert!(envelope["data"].is_null());
    }
    place.assert_untouched(&files);
}

#[tokio::test]
async fn a_missing_program_is_named_with_the_way_to_install_it() {
    let place = Place::on_a_database().await;
    place.run(&["bootstrap"]).good();
    let mut clip = place.command(&["clip", "talk.mp4", "--start", "1", "--end", "2"]);
    let refused = answer(clip.env("PATH", "/nowhere").spawn().unwrap());
    refused.refused(4, "FFMPEG_MISSING");
    assert!(
        refused.err.contains("apt-get install -y ffmpeg"),
        "{refused:?}"
    );
    place.assert_untouched(&[]);
}

#[test]
fn a_missing_postgres_is_named_with_the_way_to_install_it() {
    let place = Place::embedded();
    let mut stats = place.command(&["stats"]);
    let refused = answer(stats.env("CLIPBASE_PG_BIN", "/nowhere").spawn().unwrap());
    refused.refused(4, "POSTGRES_UNUSABLE");
}

#[test]
fn a_database_that_cannot_be_reached_is_told_without_its_address() {
    let mut place = Place::embedded();
    for (url, exit, code) in [
        (
            "postgresql://me:canary-word@127.0.0.1:1/canary_db",
            5,
            "DB_UNAVAILABLE",
        ),
        ("canary-word", 4, "CONFIG_INVALID"),
    ] {
        place.url = Some(url.to_owned());
        for args in [
            &["clip", "talk.mp4", "--start", "1", "--end", "2"][..],
            &["stats"],
        ] {
            let refused = place.run(args);
            refused.refused(exit, code);
            assert!(!refused.err.contains("canary"), "{refused:?}");
        }
    }
    assert!(place.files().is_empty());
    assert!(place.objects().is_empty());
}

#[tokio::test]
async fn what_somebody_must_mend_is_told_after_one_attempt_and_the_job_waits() {
    let place = Place::on_a_database().await;
    let full = place.script(
        "full-ffmpeg",
        "#!/bin/sh\necho 'av_interleaved_write_frame(): No space left on device' >&2\nexit 1\n",
    );
    let args = ["clip", "talk.mp4", "--start", "1", "--end", "2"];
    let refused = answer(
        place
            .command(&args)
            .env("FFMPEG_BIN", full)
            .spawn()
            .unwrap(),
    );
    refused.refused(6, "NO_SPACE");
    assert!(
        refused.err.contains("run the same command again"),
        "{refused:?}"
    );
    let job = place.only_job();
    assert_eq!(
        (&job["status"], &job["attempts"]),
        (&"queued".into(), &1.into())
    );
    assert!(place.files().is_empty());
    place.assert_tidy();
    place.run(&args).good();
    assert_eq!(place.only_job()["attempts"], 2);
}

#[tokio::test]
async fn a_canceled_clip_says_so_and_the_same_command_starts_afresh() {
    let place = Place::on_a_database().await;
    let args = ["clip", "talk.mp4", "--start", "2", "--end", "3"];
    let gate = Gate::new(&place, Stop::Before);
    let child = gate.start(&place, &args);
    gate.reached().await;
    let job = place.only_job();
    place
        .run(&["jobs", "cancel", job["id"].as_str().unwrap()])
        .good();
    answer(child).refused(1, "CANCELED");
    assert_eq!(place.only_job()["error_code"], "CANCELED");
    place.assert_tidy();
    place.run(&args).good();
    assert_eq!(place.only_job()["attempts"], 1);
}

#[test]
fn wrong_usage_exits_with_2() {
    let place = Place::embedded();
    for args in [
        &["clip", "talk.mp4", "--start", "abc", "--end", "2"][..],
        &["clip", "talk.mp4", "--start", "1"],
        &["clip", "-x.mp4", "--start", "1", "--end", "2"],
        &["jobs", "get", "123"],
        &["jobs", "list", "--status", "foo"],
        &["no-such-command"],
        &[],
    ] {
        let refused = place.run(args);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{refused:?}");
        assert!(!refused.err.is_empty());
    }
    assert!(!place.path("data").exists());
}
