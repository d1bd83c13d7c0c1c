//! What an operator does: each command for people and as JSON.

use std::fs;

use clipbase_testkit::TestDatabase;

use crate::support::Place;

const CREATE: [&str; 7] = ["jobs", "create", "talk.mp4", "--start", "1", "--end", "2.5"];
const ABSENT: &str = "0198c0de-0000-7000-8000-000000000000";

#[tokio::test]
async fn a_job_is_created_followed_canceled_retried_run_and_deleted() {
    let place = Place::on_a_database().await;
    place.run(&["bootstrap"]).good();
    let job = place.json(&CREATE);
    let id = job["id"].as_str().unwrap();
    assert_eq!(
        (&job["status"], &job["start_ms"]),
        (&"queued".into(), &1_000.into())
    );
    assert!(
        place
            .run(&["jobs", "list"])
            .good()
            .out
            .contains("00:00:01.000 – 00:00:02.500")
    );
    assert_eq!(
        place.run(&["jobs", "cancel", id]).good().out,
        format!("{id}  canceled\n")
    );
    assert_eq!(place.json(&["jobs", "get", id])["error_code"], "CANCELED");
    // Asked for twice, it is as if once.
    place.run(&["jobs", "cancel", id]).good();
    assert_eq!(
        place.run(&["jobs", "retry", id]).good().out,
        format!("{id}  queued again\n")
    );
    place
        .run(&["jobs", "retry", id])
        .refused(7, "INVALID_TRANSITION");

    let worked = place.run(&["work", "--until-idle"]).good();
    assert!(worked.out.starts_with("1 done, 0 failed"), "{worked:?}");
    assert!(worked.err.contains(&format!("{id}  done")), "{worked:?}");
    let shown = place.run(&["jobs", "get", id]).good().out;
    assert!(shown.contains("status     done (100 %)"), "{shown}");
    let job = place.json(&["jobs", "get", id]);
    assert_eq!(
        place.events(&job),
        ["created", "canceled", "retried", "claimed", "finished"]
    );
    let followed = place.run(&["jobs", "events", id, "--follow"]).good().out;
    assert_eq!(followed, place.run(&["jobs", "events", id]).good().out);
    assert_eq!(followed.lines().count(), 5);

    assert_eq!(
        place.run(&["jobs", "delete", id]).good().out,
        format!("{id}  deleted\n")
    );
    assert!(place.jobs().is_empty());
    assert_eq!(place.objects().len(), 2);
    let plan = place.json(&["cleanup", "--dry-run"]);
    assert!(!plan["objects"].as_array().unwrap().is_empty());
    assert_eq!(place.objects().len(), 2);
    place.run(&["cleanup"]).good();
    assert!(place.objects().is_empty());
}

#[tokio::test]
async fn an_absent_job_is_told() {
    let place = Place::on_a_database().await;
    place.run(&["bootstrap"]).good();
    for verb in ["get", "events", "cancel", "retry", "delete"] {
        place.run(&["jobs", verb, ABSENT]).refused(7, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_job_cannot_be_created_from_a_file_that_is_not_there() {
    let place = Place::on_a_database().await;
    place.run(&["bootstrap"]).good();
    let args = ["jobs", "create", "absent.mp4", "--start", "1", "--end", "2"];
    place.run(&args).refused(3, "SOURCE_MISSING");
    assert!(place.jobs().is_empty());
    assert!(place.objects().is_empty());
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let place = Place::on_a_database().await;
    place.run(&["bootstrap"]).good();
    for _ in 0..3 {
        place.run(&CREATE).good();
    }
    let first = place.json(&["jobs", "list", "--limit", "2"]);
    assert_eq!(first["jobs"].as_array().unwrap().len(), 2);
    let next = first["next"].as_str().unwrap();
    let second = place.json(&["jobs", "list", "--limit", "2", "--after", next]);
    assert_eq!(second["jobs"].as_array().unwrap().len(), 1);
    assert!(second["next"].is_null());
    let canceled = &first["jobs"][0]["id"];
    place.json(&["jobs", "cancel", canceled.as_str().unwrap()]);
    for (status, count) in [("queued", 2), ("failed", 1), ("done", 0)] {
        let page = place.json(&["jobs", "list", "--status", status]);
        assert_eq!(page["jobs"].as_array().unwrap().len(), count, "{status}");
    }
    assert_eq!(place.jobs().len(), 3);
    assert_eq!(&place.jobs()[0]["id"], canceled, "newest first");
    place
        .run(&["jobs", "list", "--limit", "0"])
        .refused(3, "INVALID_INPUT");
    let stats = place.json(&["stats"]);
    assert_eq!(stats["statuses"][0]["count"], 2);
    assert!(place.run(&["stats"]).good().out.contains("queued      2"));
}

#[tokio::test]
async fn cleanup_stops_at_its_limit_and_refuses_zero() {
    let place = Place::on_a_database().await;
    place.run(&["bootstrap"]).good();
    for _ in 0..2 {
        let job = place.json(&CREATE);
        place
            .run(&["jobs", "delete", job["id"].as_str().unwrap()])
            .good();
    }
    let plan = place.json(&["cleanup", "--dry-run"]);
    assert_eq!(plan["objects"].as_array().unwrap().len(), 2);
    place.run(&["cleanup", "--limit", "1"]).good();
    assert_eq!(place.objects().len(), 1);
    place
        .run(&["cleanup", "--limit", "0"])
        .refused(3, "INVALID_INPUT");
}

#[tokio::test]
async fn another_databases_storage_is_refused_until_it_is_adopted() {
    let mut place = Place::on_a_database().await;
    place.run(&["bootstrap"]).good();
    let other = TestDatabase::empty().await;
    place.url = Some(other.url());
    place.run(&["migrate"]).good();
    place
        .run(&["bootstrap"])
        .refused(8, "INSTALLATION_MISMATCH");
    let clip = ["clip", "talk.mp4", "--start", "1", "--end", "2"];
    place.run(&clip).refused(8, "INSTALLATION_MISMATCH");
    let doctor = place.run(&["doctor"]);
    assert_eq!(doctor.code, 1);
    assert!(doctor.out.contains("BAD  installation"), "{doctor:?}");
    assert_eq!(place.json(&["bootstrap", "--adopt"])["adopted"], true);
    place.run(&clip).good();
    other.drop_database().await;
}

#[tokio::test]
async fn doctor_names_what_is_wrong() {
    let place = Place::on_a_database().await;
    place.run(&["bootstrap"]).good();
    let healthy = place.run(&["doctor"]).good();
    assert!(
        healthy.out.contains("ok  migrations    up to date")
            && healthy.out.contains("owns the tables")
            && healthy.out.contains("ok  transactions"),
        "{healthy:?}"
    );
    let mut command = place.command(&["doctor"]);
    let sick = command.env("PATH", "/nowhere").output().unwrap();
    assert_eq!(sick.status.code(), Some(1));
    let text = String::from_utf8(sick.stdout).unwrap();
    assert!(text.contains("BAD  ffmpeg"), "{text}");
}

#[tokio::test]
async fn an_empty_database_is_migrated_by_hand_and_by_the_main_job() {
    let mut place = Place::embedded();
    let database = TestDatabase::empty().await;
    place.url = Some(database.url());
    place.run(&["stats"]).refused(8, "SCHEMA_MISMATCH");
    place
        .run(&["clip", "talk.mp4", "--start", "2", "--end", "3"])
        .good();
    let list = place.json(&["migrate", "--status"]);
    assert!(
        list.as_array()
            .unwrap()
            .iter()
            .all(|one| one["is_applied"] == true)
    );
    let human = place.run(&["migrate", "--status"]).good().out;
    assert!(human.starts_with("VERSION"), "{human}");
    assert_eq!(
        place.run(&["migrate"]).good().out,
        "the schema is up to date\n"
    );
    assert!(fs::exists(place.path("talk-clip.mp4")).unwrap());
    database.drop_database().await;
}
