//! What bounds `clipbase serve`, and how the outside reaches it.

use serde_json::{Value, json};

use crate::serving::{Serving, curl};
use crate::storage::Cloud;
use crate::support::Place;

#[test]
fn a_bound_that_makes_no_sense_is_named_by_its_flag() {
    let place = Place::embedded();
    for (flag, values) in [
        ("--link-ttl", &["4m", "16m", "1500ms"][..]),
        ("--link-ttl-min", &["16m", "100ms"]),
        ("--link-ttl-max", &["4m", "8d"]),
        ("--max-body", &["1023", "1048577"]),
        ("--max-upload", &["0", "1099511627777"]),
        ("--request-timeout", &["99ms", "11m"]),
        ("--copy-timeout", &["99ms", "11m"]),
        ("--idle-timeout", &["99ms", "11m"]),
        ("--max-streams", &["0", "1001"]),
        ("--stream-time", &["99ms", "25h"]),
        ("--max-connections", &["0", "65537"]),
        ("--drain-timeout", &["11m"]),
        ("--cors", &["https://app.example/page"]),
    ] {
        for value in values {
            let answer = place.run(&["serve", "--dev", flag, value]);
            answer.refused(3, "INVALID_INPUT");
            assert!(
                answer.err.starts_with(&format!("error: {flag} must ")),
                "{answer:#?}"
            );
        }
    }
    // A worker would refuse what the API took from elsewhere.
    let hosts = ["serve", "--youtube", "--youtube-hosts", "vimeo.com"];
    let answer = place.run(&hosts);
    assert_eq!(answer.code, 2, "{answer:#?}");
    assert!(answer.err.contains("--youtube-hosts") && answer.err.contains("youtu.be"));
    // Nothing was opened.
    assert!(!place.path("data").exists());
    // Without YouTube there are no hosts to name.
    assert_eq!(place.run(&["serve", "--youtube-hosts", "youtu.be"]).code, 2);
}

#[test]
fn an_address_of_no_machine_makes_no_links() {
    let place = Place::embedded();
    for listen in ["0.0.0.0:8080", "[::]:8080"] {
        let answer = place.run(&["serve", "--dev", "--allow-anonymous", "--listen", listen]);
        answer.refused(4, "CONFIG_INVALID");
        assert!(
            answer
                .err
                .contains("--public-url http://clips.example:8080"),
            "{answer:#?}"
        );
    }
    for url in [
        "clips.example",
        "ftp://clips.example",
        "https://clips.example/?a=b",
        "https://clips.example/#a",
        "https://me@clips.example",
        "https://me:secret@clips.example",
        "http://",
        "",
    ] {
        let answer = place.run(&["serve", "--dev", "--public-url", url]);
        answer.refused(4, "CONFIG_INVALID");
        assert!(
            answer.err.starts_with("error: --public-url must "),
            "{answer:#?}"
        );
        assert!(!answer.err.contains("secret"), "{answer:#?}");
    }
    assert!(!place.path("data").exists());
}

/// Links lead to the storage, whatever the address.
#[tokio::test]
async fn with_supabase_any_address_will_do_and_buckets_bound_uploads() {
    let cloud = Cloud::ready().await;
    let args = [
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--allow-anonymous",
        "--json",
    ];
    let serving = Serving::of(&mut cloud.command(&args));
    let port = serving.address().rsplit(':').next().unwrap().to_owned();
    let url = format!("http://127.0.0.1:{port}/healthz");
    curl(&["--fail", &url]);
    serving.terminate().good();
    let answer = cloud.run(&["serve", "--max-upload", "1000"]);
    answer.refused(4, "CONFIG_INVALID");
    assert!(
        answer.err.contains("CLIPBASE_BUCKET_MAX_BYTES"),
        "{answer:#?}"
    );
}

#[tokio::test]
async fn what_is_set_holds() {
    let place = Place::on_a_database().await;
    let serving = Serving::start(
        &place,
        &[
            "--public-url",
            "https://clips.example/",
            "--link-ttl-min",
            "30s",
            "--link-ttl-max",
            "60s",
            "--max-body",
            "1024",
            "--max-upload",
            "10",
            "--max-streams",
            "1",
            "--stream-time",
            "100ms",
            "--youtube",
            "--youtube-hosts",
            "youtu.be",
        ],
        None,
    );
    assert_eq!(serving.url(), "https://clips.example");
    let at = |path: &str| format!("http://{}{path}", serving.address());
    let send = |method: &str, path: &str, body: &str| -> Value {
        let json = ["--header", "content-type: application/json", "--data", body];
        let url = at(path);
        let args = [&["--request", method][..], &json, &[&url]].concat();
        serde_json::from_str(&curl(&args)).unwrap()
    };
    let long = json!({"extension": "x".repeat(2_000)}).to_string();
    assert_eq!(
        send("POST", "/v1/uploads", &long)["code"],
        "PAYLOAD_TOO_LARGE"
    );

    let upload = send("POST", "/v1/uploads", r#"{"extension": "mp4"}"#);
    let link = upload["data"]["url"].as_str().unwrap();
    let path = link.strip_prefix("https://clips.example").unwrap();
    let file = place.path("talk.mp4");
    let stored = curl(&["--upload-file", file.to_str().unwrap(), &at(path)]);
    let refused: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(refused["code"], "PAYLOAD_TOO_LARGE");

    let document: Value = serde_json::from_str(&curl(&["--fail", &at("/openapi.json")])).unwrap();
    let parameters = &document["paths"]["/v1/jobs/{id}/result"]["get"]["parameters"];
    let ttl = parameters
        .as_array()
        .unwrap()
        .iter()
        .find(|found| found["schema"]["maximum"] == 60);
    assert_eq!(ttl.unwrap()["schema"]["minimum"], 30, "{parameters}");

    let elsewhere = json!({
        "source": {"youtube": "https://www.youtube.com/watch?v=jNQXAC9IVRw"}, "start": 0, "end": 1,
    });
    let refused = send("POST", "/v1/jobs", &elsewhere.to_string());
    assert_eq!(refused["code"], "INVALID_INPUT", "{refused}");
    assert!(
        refused["message"].as_str().unwrap().contains("not allowed"),
        "{refused}"
    );

    // The stream ends by itself, and the page follows links where it was opened.
    curl(&["--fail", &at("/v1/live")]);
    let page = curl(&["--fail", &at("/")]);
    assert!(page.contains("<html data-links=\"own\" "), "{page}");
    serving.terminate().good();
}
