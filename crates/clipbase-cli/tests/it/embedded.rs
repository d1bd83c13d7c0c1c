//! The same on a private server: no configuration at all.

use std::fs;

use crate::support::{Gate, Place, Stop, duration, kill};

const CLIP: [&str; 7] = [
    "clip",
    "talk.mp4",
    "--start",
    "4",
    "--end",
    "6.5",
    "--subtitles",
];

#[tokio::test]
async fn a_clip_needs_no_configuration_and_survives_a_kill() {
    let place = Place::embedded();
    let gate = Gate::new(&place, Stop::Before);
    let child = gate.start(&place, &CLIP);
    gate.reached().await;
    kill(child);
    gate.end();

    let done = place.json(&CLIP);
    assert_eq!(done["job"]["attempts"], 2);
    assert!((duration(&place.path("talk-clip.mp4")) - 2.5).abs() < 0.1);
    assert!(
        fs::read_to_string(place.path("talk-clip.srt"))
            .unwrap()
            .contains("Hello number 3")
    );
    place.assert_tidy();
    assert_eq!(place.json(&CLIP)["was_done_before"], true);
    place.only_job();
    let checks = place.json(&["doctor"]);
    for check in checks.as_array().unwrap() {
        assert_eq!(check["state"], "good", "{check}");
    }
}

#[test]
fn a_private_server_is_ready_for_every_command_without_a_word() {
    let place = Place::embedded();
    assert_eq!(place.json(&["migrate", "--status"])[0]["is_applied"], false);
    assert_eq!(place.json(&["bootstrap"])["adopted"], false);
    assert_eq!(place.json(&["migrate", "--status"])[0]["is_applied"], true);
    assert_eq!(place.json(&["migrate"])["applied"], serde_json::json!([]));
    assert_eq!(place.json(&["work", "--until-idle"])["done"], 0);
}
