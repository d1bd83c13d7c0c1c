//! `clipbase cleanup` on a Supabase project's storage.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use clipbase::storage::{Storage, StorageKey, SupabaseConfig, SupabaseStorage};
use clipbase_testkit::fake_supabase::{Call, Fault, Rule};
use serde_json::json;

use crate::storage::{Cloud, MARKER};
use crate::support::{answer, signal};

const OLD: &str = "results/0198c0de-0000-7000-8000-000000000001/clip.mp4";
const YOUNG: &str = "results/0198c0de-0000-7000-8000-000000000002/clip.mp4";
const FOREIGN: &str = "results/holiday/photo.jpg";

impl Cloud {
    /// Three objects that no row names: an old one, a young one, and one of another kind.
    fn put_strays(&self) {
        for key in [OLD, YOUNG, FOREIGN] {
            let path = key.strip_prefix("results/").unwrap();
            self.server.put_object("results", path, "a stray");
        }
        for key in [OLD, FOREIGN] {
            let path = key.strip_prefix("results/").unwrap();
            let age = Duration::from_secs(26 * 60 * 60);
            self.server.set_age("results", path, age);
        }
    }

    /// Makes a clip, and returns its job's id.
    fn clip(&self) -> String {
        let done = self.json(&["clip", "talk.mp4", "--start", "1", "--end", "2"]);
        done["job"]["id"].as_str().unwrap().to_owned()
    }

    /// Has a worker take the job, in its last attempt or not, and die at once.
    async fn lose(&self, job: &str, is_last: bool) {
        let sql = format!(
            "UPDATE jobs SET max_attempts = {}, status = 'processing', worker_id = gen_random_uuid() WHERE id = '{job}';
             UPDATE jobs SET lease_expires_at = now() - interval '1 second', last_heartbeat_at = NULL
              WHERE id = '{job}'",
            if is_last { 1 } else { 3 }
        );
        let database = self.place.database.as_ref().unwrap();
        database.raw().await.batch_execute(&sql).await.unwrap();
    }

    fn status(&self, job: &str) -> String {
        let job = self.json(&["jobs", "get", job]);
        job["status"].as_str().unwrap().to_owned()
    }

    async fn remove(&self, key: &str) {
        let config =
            SupabaseConfig::from_storage_url(&self.server.url(), self.server.service_key());
        let storage = SupabaseStorage::new(config.unwrap()).unwrap();
        let key: StorageKey = key.parse().unwrap();
        storage.remove(&[key]).await.unwrap();
    }
}

#[tokio::test]
async fn a_deleted_jobs_objects_leave_the_storage() {
    let cloud = Cloud::ready().await;
    let job = cloud.clip();
    let kept = cloud.job();
    cloud.run(&["jobs", "delete", &job]).good();
    assert_eq!(cloud.objects().len(), 3);
    let plan = cloud.run(&["cleanup", "--dry-run"]).good();
    for object in ["results", "sources"] {
        assert!(plan.out.contains(&format!("object  {object}/{job}/")));
    }
    assert_eq!(cloud.objects().len(), 3);
    let done = cloud.run(&["cleanup"]).good();
    assert!(done.out.contains("objects removed"), "{done:#?}");
    assert_eq!(cloud.objects(), [format!("sources/{kept}/source.mp4")]);
    let again = cloud.json(&["cleanup"]);
    assert_eq!(again["objects_removed"], 0);
    assert!(cloud.server.object("sources", MARKER).is_some());
}

#[tokio::test]
async fn reconciling_takes_old_strays_and_reports_the_rest() {
    let cloud = Cloud::ready().await;
    let job = cloud.clip();
    let lost = format!("results/{job}/clip.mp4");
    cloud.remove(&lost).await;
    cloud.put_strays();

    let before = cloud.objects();
    let plan = cloud.json(&["cleanup", "--dry-run", "--reconcile"]);
    assert_eq!(cloud.objects(), before);
    for list in ["jobs", "sources", "objects"] {
        assert_eq!(plan[list], json!([]), "{plan}");
    }
    assert_eq!(plan["reconciled"]["unowned_objects"], json!([OLD]));
    let told = cloud.run(&["cleanup", "--dry-run", "--reconcile"]).good();
    let listed: Vec<&str> = told.out.lines().filter(|line| line.contains('/')).collect();
    let missing = format!("missing  {lost}  of job {job}");
    let unowned = format!("unowned  {OLD}");
    let foreign = format!("foreign  {FOREIGN}");
    assert_eq!(listed, [unowned, foreign, missing], "{told:#?}");
    assert_eq!(cloud.objects(), before);

    let done = cloud.json(&["cleanup", "--reconcile"]);
    assert_eq!(done["objects_removed"], 1);
    let found = &done["reconciled"];
    let counts = ["young", "unowned", "enqueued", "foreign", "missing"];
    for count in counts {
        assert_eq!(found["results"][count], 1, "{count}: {done}");
        assert_eq!(found["sources"][count], 0, "{count}: {done}");
    }
    assert_eq!(
        found["unowned_objects"],
        plan["reconciled"]["unowned_objects"]
    );
    assert_eq!(found["foreign_objects"], json!([FOREIGN]));
    assert_eq!(
        found["missing_objects"],
        json!([{"job": job, "object_key": lost}])
    );
    let expected: Vec<String> = before.into_iter().filter(|key| key != OLD).collect();
    assert_eq!(cloud.objects(), expected);
    assert_eq!(
        cloud.json(&["cleanup", "--reconcile"])["objects_removed"],
        0
    );
}

#[tokio::test]
async fn a_longer_grace_leaves_more_alone() {
    let cloud = Cloud::ready().await;
    cloud.put_strays();
    let longer = cloud.json(&["cleanup", "--reconcile", "--grace", "30h"]);
    assert_eq!(longer["reconciled"]["results"]["young"], 2);
    assert_eq!(longer["objects_removed"], 0);
    let shortest = cloud.json(&["cleanup", "--reconcile", "--grace", "24h"]);
    assert_eq!(shortest["objects_removed"], 1);
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused_by_name() {
    let cloud = Cloud::ready().await;
    cloud.put_strays();
    let before = cloud.objects();
    for dry in [&[][..], &["--dry-run"]] {
        let args = [&["cleanup", "--reconcile", "--grace", "1h"][..], dry].concat();
        let refused = cloud.run(&args);
        refused.refused(3, "INVALID_INPUT");
        assert!(refused.err.contains("--grace must be at least 24h"));
    }
    let huge = cloud.run(&["cleanup", "--reconcile", "--grace", "40000d"]);
    huge.refused(3, "INVALID_INPUT");
    assert!(huge.err.contains("grace"), "{huge:#?}");
    for args in [
        &["cleanup", "--grace", "30h"][..],
        &["cleanup", "--objects", "list"],
        &["cleanup", "--reconcile", "--objects", "somewhere"],
        &["cleanup", "--rate", "0"],
        &["cleanup", "--interval", "5s"],
        &["cleanup", "--watch", "--reconcile-every", "1h"],
        &["cleanup", "--watch", "--dry-run"],
        &["cleanup", "--dry-run", "--limit", "1"],
    ] {
        let refused = cloud.run(args);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{refused:?}");
        assert!(refused.err.contains(args[1]) || refused.err.contains("objects"));
    }
    // This database has no table of objects.
    let sql = cloud.run(&["cleanup", "--reconcile", "--objects", "sql"]);
    sql.refused(3, "INVALID_INPUT");
    assert_eq!(cloud.objects(), before);
}

#[tokio::test]
async fn a_rate_makes_the_calls_smaller() {
    let cloud = Cloud::ready().await;
    for _ in 0..3 {
        let job = cloud.job();
        cloud.run(&["jobs", "delete", &job]).good();
    }
    let before = cloud.server.calls(Call::DeleteMany);
    let done = cloud.json(&["cleanup", "--rate", "2"]);
    assert_eq!(done["objects_removed"], 3);
    assert_eq!(cloud.server.calls(Call::DeleteMany) - before, 2);
    assert!(cloud.objects().is_empty());
}

#[tokio::test]
async fn a_watching_clean_up_goes_on_until_it_is_told_to_stop() {
    let cloud = Cloud::ready().await;
    let first = cloud.job();
    let later = cloud.job();
    cloud.run(&["jobs", "delete", &first]).good();
    let mut watch = cloud.command(&["cleanup", "--watch", "--interval", "20ms"]);
    let mut child = watch.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || out.next().unwrap().unwrap();
    assert_eq!(next(), "0 jobs deleted, 1 object removed");
    assert_eq!(cloud.objects(), [format!("sources/{later}/source.mp4")]);

    // A removal that fails is no reason to end.
    let forbidden = Fault::refusal(403, "AccessDenied");
    cloud.server.fail(Rule::next(Call::DeleteMany, forbidden));
    let third = cloud.job();
    cloud.run(&["jobs", "delete", &third]).good();
    let failed = "0 jobs deleted, 0 objects removed, 1 object to try again later";
    assert_eq!(next(), failed);
    cloud.run(&["jobs", "delete", &later]).good();
    assert_eq!(next(), "0 jobs deleted, 1 object removed");
    assert_eq!(cloud.objects(), [format!("sources/{third}/source.mp4")]);

    signal("TERM", &child.id().to_string());
    let ended = answer(child).good();
    assert!(ended.err.starts_with("cleaning up; stop it with Ctrl-C\n"));
}

#[tokio::test]
async fn rows_expire_while_the_storage_is_down_and_their_objects_go_later() {
    let cloud = Cloud::ready().await;
    let job = cloud.job();
    let keep = [("CLIPBASE_KEEP_FAILED", "1ms")];
    cloud.run_with(&["jobs", "cancel", &job], &keep).good();
    cloud.server.go_down().await;
    let down = cloud.run(&["cleanup", "--reconcile"]);
    assert_eq!(down.code, 5, "{down:#?}");
    assert!(down.err.ends_with("[STORAGE_UNAVAILABLE]\n"), "{down:#?}");
    assert_eq!(down.err.lines().count(), 1, "{down:#?}");
    assert!(down.out.contains("expired jobs deleted"), "{down:#?}");
    cloud.run(&["jobs", "get", &job]).refused(7, "NOT_FOUND");
    // Nothing is left to expire: the failure stands alone.
    cloud.run(&["cleanup"]).refused(5, "STORAGE_UNAVAILABLE");

    cloud.server.come_back().await;
    assert_eq!(cloud.objects().len(), 1);
    assert_eq!(cloud.json(&["cleanup"])["objects_removed"], 1);
    assert!(cloud.objects().is_empty());
}

#[tokio::test]
async fn objects_that_cannot_be_removed_are_a_failure_that_a_later_run_mends() {
    let cloud = Cloud::ready().await;
    let job = cloud.job();
    cloud.run(&["jobs", "delete", &job]).good();
    let forbidden = Fault::refusal(403, "AccessDenied");
    cloud.server.fail(Rule::always(Call::DeleteMany, forbidden));
    let refused = cloud.run(&["cleanup", "--json"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    let envelope = refused.envelope();
    assert_eq!(envelope["code"], "STORAGE_REMOVE_FAILED");
    assert_eq!(envelope["data"]["objects_failed"], 1);
    assert_eq!(cloud.objects().len(), 1);
}

#[tokio::test]
async fn jobs_of_lost_workers_are_taken_back_unless_it_is_told_not_to() {
    let cloud = Cloud::ready().await;
    let (again, over) = (cloud.job(), cloud.job());
    cloud.lose(&again, false).await;
    cloud.lose(&over, true).await;

    let left = cloud.json(&["cleanup", "--no-reap"]);
    assert_eq!(
        (&left["jobs_requeued"], &left["jobs_failed"]),
        (&json!(0), &json!(0))
    );
    let plan = cloud.run(&["cleanup", "--dry-run"]).good();
    assert!(
        plan.out
            .contains("2 jobs of lost workers would be taken back"),
        "{plan:#?}"
    );
    assert_eq!(cloud.json(&["cleanup", "--dry-run"])["lost_leases"], 2);
    assert_eq!(
        (cloud.status(&again), cloud.status(&over)),
        ("processing".into(), "processing".into())
    );

    let done = cloud.json(&["cleanup"]);
    assert_eq!(
        (&done["jobs_requeued"], &done["jobs_failed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (cloud.status(&again), cloud.status(&over)),
        ("queued".into(), "failed".into())
    );
    let failed = cloud.json(&["jobs", "get", &over]);
    assert_eq!(failed["error_code"], "WORKER_LOST", "{failed}");

    cloud.lose(&again, false).await;
    let told = cloud.run(&["cleanup"]).good();
    assert!(
        told.out.contains("jobs of lost workers queued again  1"),
        "{told:#?}"
    );
    assert_eq!(cloud.run(&["cleanup"]).good().out, "nothing to clean up\n");
}

#[tokio::test]
async fn a_watching_clean_up_takes_jobs_back_while_the_storage_is_away() {
    let cloud = Cloud::ready().await;
    let job = cloud.job();
    cloud.lose(&job, false).await;
    cloud.server.go_down().await;
    let mut watch = cloud.command(&["cleanup", "--watch", "--interval", "20ms"]);
    let mut child = watch.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = out.next().unwrap().unwrap();
    assert_eq!(told, "0 jobs deleted, 0 objects removed, 1 job taken back");
    assert_eq!(cloud.status(&job), "queued");
    signal("TERM", &child.id().to_string());
    answer(child).good();
}
