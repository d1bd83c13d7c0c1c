//! The command connected as members of the roles that `migrate --roles` makes.

use clipbase_testkit::TestDatabase;
use serde_json::json;

use crate::serving::Serving;
use crate::support::Place;

const CREATE: [&str; 7] = ["jobs", "create", "talk.mp4", "--start", "1", "--end", "2.5"];

/// A place whose database was migrated with the roles, and a user of each group.
struct Users {
    place: Place,
    database: TestDatabase,
}

impl Users {
    async fn new() -> Self {
        let mut place = Place::embedded();
        let database = TestDatabase::empty().await;
        place.url = Some(database.url());
        let migrated = place.run(&["migrate", "--roles"]).good();
        assert!(migrated.out.contains("_roles\n"), "{migrated:?}");
        place.run(&["bootstrap"]).good();
        let users = Self { place, database };
        let raw = users.database.raw().await;
        for group in ["clipbase_api", "clipbase_worker", "clipbase_reader", ""] {
            let name = users.name(group);
            let mut sql = format!("CREATE ROLE {name} LOGIN;");
            if !group.is_empty() {
                sql.push_str(&format!("GRANT {group} TO {name}"));
            }
            raw.batch_execute(&sql).await.unwrap();
        }
        users
    }

    /// Roles belong to the whole server, so a user's name carries the database's.
    fn name(&self, group: &str) -> String {
        format!("{group}_{}", self.database.name())
    }

    /// From here on, commands connect as a member of this group, or of none.
    fn become_member(&mut self, group: &str) -> &Place {
        let user = format!("user={}", self.name(group));
        self.place.url = Some(self.database.url().replace("user=postgres", &user));
        &self.place
    }

    async fn leave(self) {
        let raw = self.database.raw().await;
        for group in ["clipbase_api", "clipbase_worker", "clipbase_reader", ""] {
            let sql = format!("DROP ROLE {}", self.name(group));
            raw.batch_execute(&sql).await.unwrap();
        }
        self.database.drop_database().await;
    }
}

#[tokio::test]
async fn an_api_and_workers_share_a_job_as_members_of_their_groups() {
    let mut users = Users::new().await;
    let place = users.become_member("clipbase_api");
    let served = Serving::start_alone(place);
    let ready = served.call("GET", "/readyz", None);
    assert_eq!(ready["checks"][1], json!({"name": "schema", "ok": true}));
    let source = served.upload(&place.path("talk.mp4"));
    let body = json!({"source": source, "start": 1, "end": 2.5});
    let job = served.call("POST", "/v1/jobs", Some(&body));
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let other = place.json(&CREATE);
    let doctor = place.run(&["doctor"]).good();
    assert!(
        doctor.out.contains("is a member of clipbase_api"),
        "{doctor:?}"
    );
    assert!(doctor.out.contains("note  transactions"), "{doctor:?}");

    let place = users.become_member("clipbase_worker");
    let worked = place.run(&["work", "--until-idle"]).good();
    assert!(worked.out.starts_with("2 done, 0 failed"), "{worked:?}");
    place.run(&["cleanup", "--reconcile"]).good();
    place.run(&["doctor"]).good();
    let refused = place.run(&CREATE);
    refused.refused(1, "DB_FAILED");
    assert!(
        refused.err.contains("a member of clipbase_api"),
        "{refused:?}"
    );

    assert_eq!(served.call("GET", &path, None)["status"], "done");
    let path = format!("/v1/jobs/{}", other["id"].as_str().unwrap());
    served.call("DELETE", &path, None);
    assert_eq!(served.terminate().code, 0);
    place.run(&["cleanup"]).good();
    assert_eq!(place.objects().len(), 2, "of the first job");
    users.leave().await;
}

#[tokio::test]
async fn a_reader_looks_and_is_told_what_it_lacks_where_it_may_not() {
    let mut users = Users::new().await;
    users.place.run(&CREATE).good();
    let place = users.become_member("clipbase_reader");
    let job = place.only_job();
    assert_eq!(place.events(&job), ["created"]);
    place.run(&["stats"]).good();
    let doctor = place.run(&["doctor"]).good();
    assert!(
        doctor.out.contains("is a member of clipbase_reader"),
        "{doctor:?}"
    );
    let id = job["id"].as_str().unwrap();
    for args in [
        &["jobs", "cancel", id][..],
        &["jobs", "delete", id],
        &["cleanup"],
    ] {
        place.run(args).refused(1, "DB_FAILED");
    }
    let worked = place.run(&["work"]);
    assert_eq!(worked.code, 1, "{worked:?}");
    assert!(worked.err.contains("of clipbase_worker"), "{worked:?}");
    assert_eq!(place.only_job()["status"], "queued");
    users.leave().await;
}

#[tokio::test]
async fn a_user_without_any_grant_is_told_so_by_every_command() {
    let mut users = Users::new().await;
    let place = users.become_member("");
    for args in [&["jobs", "list"][..], &["stats"], &["cleanup"]] {
        let refused = place.run(args);
        refused.refused(1, "DB_FAILED");
        assert!(refused.err.contains("lacks a privilege"), "{refused:?}");
    }
    let doctor = place.run(&["doctor"]);
    assert_eq!(doctor.code, 1);
    assert!(doctor.out.contains("BAD   migrations"), "{doctor:?}");
    assert!(doctor.out.contains("lacks a privilege"), "{doctor:?}");
    assert!(
        doctor.out.contains("is a member of no role of clipbase"),
        "{doctor:?}"
    );
    users.leave().await;
}
