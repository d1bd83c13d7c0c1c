//! `clipbase serve --dev` with nothing but curl, and how it begins and ends.

use std::net::TcpListener;

use serde_json::json;

use crate::serving::{Serving, curl};
use crate::support::{Gate, Place, Stop, duration};

#[tokio::test]
async fn a_clip_is_made_with_curl_alone() {
    let place = Place::embedded();
    let serving = Serving::start(&place, &[], None);
    let source = serving.upload(&place.path("talk.mp4"));
    let new = json!({"source": source, "start": 4, "end": "00:00:06.500", "subtitles": true});
    let job = serving.call("POST", "/v1/jobs", Some(&new));
    let id = job["id"].as_str().unwrap();
    assert_eq!(job["status"], "queued");

    let mut events = serving.follow(id);
    events.retain(|name| name != "progress");
    assert_eq!(events, ["created", "claimed", "finished", "end"]);
    let done = serving.call("GET", &format!("/v1/jobs/{id}"), None);
    assert_eq!(
        (&done["status"], &done["progress"]),
        (&json!("done"), &json!(100))
    );

    let result = serving.call("GET", &format!("/v1/jobs/{id}/result"), None);
    let clip = place.path("fetched.mp4");
    let link = result["video"]["url"].as_str().unwrap();
    assert!(link.starts_with(serving.url()), "{link}");
    let told = [
        "--fail",
        "--write-out",
        "%{http_code} %{content_type}",
        "--output",
    ];
    let told = curl(&[&told, &[clip.to_str().unwrap(), link][..]].concat());
    assert_eq!(told, "200 video/mp4");
    assert!((duration(&clip) - 2.5).abs() < 0.1);
    let srt = curl(&["--fail", result["subtitles"]["url"].as_str().unwrap()]);
    assert!(srt.contains("Hello number 3"), "{srt}");

    let ended = serving.terminate().good();
    assert_eq!(ended.out, "");
    place.assert_tidy();
}

#[tokio::test]
async fn work_that_runs_at_the_end_is_given_back() {
    let place = Place::on_a_database().await;
    let gate = Gate::new(&place, Stop::Before);
    let serving = Serving::start(&place, &[], Some(gate.program()));
    let source = serving.upload(&place.path("talk.mp4"));
    let new = json!({"source": source, "start": 4, "end": 6});
    let id = serving.call("POST", "/v1/jobs", Some(&new))["id"].clone();
    gate.reached().await;

    serving.terminate().good();
    let job = place.only_job();
    assert_eq!((&job["id"], &job["status"]), (&id, &json!("queued")));
    assert_eq!(place.events(&job).last().unwrap(), "released");
    place.assert_tidy();

    // This one has the real ffmpeg.
    assert_eq!(place.json(&["work", "--until-idle"])["done"], 1);
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_starts() {
    let place = Place::embedded();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let answer = place.run(&["serve", "--dev", "--listen", &address]);
    answer.refused(4, "CONFIG_INVALID");
    assert!(answer.err.contains(&address), "{answer:?}");
    assert!(answer.err.contains("--listen"), "{answer:?}");
    assert!(!place.path("data").exists());
}

#[test]
fn without_keys_the_world_is_let_in_only_in_so_many_words() {
    let place = Place::embedded();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let answer = place.run(&["serve", "--dev", "--listen", listen]);
        answer.refused(4, "CONFIG_INVALID");
        assert!(answer.err.contains("--allow-anonymous"), "{answer:?}");
        assert!(!place.path("data").exists());
    }
}
