//! The set of roles among the other sets, and the roles of a whole server: made once for all of its databases,
//! by whoever may.

use clipbase::migrate::{self, API_KEYS, CORE, Migration, ROLES, ROLES_API_KEYS, Sets};
use clipbase::{Code, DatabaseConfig, Error};
use clipbase_testkit::TestDatabase;
use clipbase_testkit::database::OwnServer;
use futures_util::future::join_all;
use tokio_postgres::Client;

use crate::migrations::{config, count, push};

/// How many privileges the API's role has on the table of keys.
const ON_KEYS: &str = "select count(*) from information_schema.column_privileges
                        where table_name = 'api_keys' and grantee = 'clipbase_api'";

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_keys_may_come_in_any_order() {
    let steps: [(&[Sets], &[&[Migration]]); 4] = [
        (&[Sets::ROLES, Sets::API_KEYS], &[ROLES, ROLES_API_KEYS]),
        (&[Sets::API_KEYS, Sets::ROLES], &[ROLES, ROLES_API_KEYS]),
        (&[Sets::ALL], &[ROLES, ROLES_API_KEYS]),
        (&[Sets::ROLES], &[ROLES]),
    ];
    for (sets, expected) in steps {
        let database = TestDatabase::empty().await;
        let config = config(&database);
        let mut applied = Vec::new();
        for wanted in sets {
            applied.extend(migrate::migrate_with(&config, *wanted).await.unwrap());
            migrate::check_with(&config, *wanted).await.unwrap();
        }
        applied.retain(|file| file.set.starts_with("roles"));
        assert_eq!(applied, expected.concat(), "{sets:?}");
        let client = database.raw().await;
        let has_both = expected.len() == 2;
        assert_eq!(count(&client, ON_KEYS).await > 0, has_both, "{sets:?}");
        migrate::check(&config).await.unwrap();
        assert_eq!(migrate::migrate(&config).await.unwrap(), [], "{sets:?}");
        database.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_the_roles_is_told_apart_from_one_without_the_keys() {
    let database = TestDatabase::empty().await;
    let config = config(&database);
    assert_eq!(migrate::migrate(&config).await.unwrap(), CORE);
    for (wanted, fix) in [(Sets::ROLES, "--roles"), (Sets::ALL, "--api-keys")] {
        let error = migrate::check_with(&config, wanted).await.unwrap_err();
        assert_eq!(error.code(), Code::SchemaMismatch);
        assert!(error.to_string().contains(fix), "{error}");
    }
    let status = migrate::status_with(&config, Sets::ALL).await.unwrap();
    let pending = status.iter().filter(|file| !file.is_applied).count();
    assert_eq!(pending, API_KEYS.len() + ROLES.len() + ROLES_API_KEYS.len());
    database.drop_database().await;
}

/// The runner's own table, column by column.
async fn books(client: &Client) -> Vec<String> {
    let sql = "select concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
                                pg_get_expr(def.adbin, def.adrelid), col_description(attrelid, attnum))
                 from pg_attribute left join pg_attrdef def on adrelid = attrelid and adnum = attnum
                where attrelid = 'clipbase_migrations'::regclass and attnum > 0
               union all
               select pg_get_constraintdef(oid) from pg_constraint
                where conrelid = 'clipbase_migrations'::regclass and contype = 'p'
               union all
               select concat_ws(' ', relrowsecurity, obj_description(oid, 'pg_class')) from pg_class
                where oid = 'clipbase_migrations'::regclass
                order by 1";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_supabases_command_line_pushed_are_the_databases_own() {
    let database = TestDatabase::empty().await;
    let client = database.raw().await;
    push(&client, &[CORE, ROLES].concat()).await;
    let config = config(&database);
    assert_eq!(migrate::migrate(&config).await.unwrap(), []);
    let migrated = TestDatabase::empty().await;
    migrate::migrate(&self::config(&migrated)).await.unwrap();
    let ours = books(&migrated.raw().await).await;
    assert_eq!(ours.len(), 8);
    assert_eq!(books(&client).await, ours, "as the runner makes them");
    migrated.drop_database().await;
    migrate::check_with(&config, Sets::ROLES).await.unwrap();
    let applied = migrate::migrate_with(&config, Sets::API_KEYS)
        .await
        .unwrap();
    assert_eq!(applied, [API_KEYS, ROLES_API_KEYS].concat());
    database.drop_database().await;
}

/// A server with a user who may not do more than Supabase's `postgres`, and who owns so many databases.
struct Hosted {
    server: OwnServer,
    databases: Vec<String>,
}

impl Hosted {
    async fn start(count: usize) -> Self {
        let server = OwnServer::start();
        let admin = server.raw("postgres", "postgres").await;
        let sql = "CREATE ROLE operator LOGIN CREATEROLE; CREATE ROLE plain LOGIN";
        admin.batch_execute(sql).await.unwrap();
        let databases: Vec<String> = (0..count).map(|number| format!("db{number}")).collect();
        for name in &databases {
            let sql = format!("CREATE DATABASE {name} OWNER operator");
            admin.batch_execute(&sql).await.unwrap();
        }
        Self { server, databases }
    }

    fn config(&self, user: &str, database: &str) -> DatabaseConfig {
        DatabaseConfig::from_url(&self.server.url_as(user, database)).unwrap()
    }

    async fn migrate(&self, user: &str, sets: Sets) -> Result<Vec<Migration>, Error> {
        migrate::migrate_with(&self.config(user, "db0"), sets).await
    }

    /// How many of the roles the server has.
    async fn roles(&self) -> i64 {
        let admin = self.server.raw("postgres", "postgres").await;
        count(
            &admin,
            "select count(*) from pg_roles where rolname like 'clipbase%'",
        )
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_databases_of_a_server_are_migrated_at_once_by_a_user_who_is_no_superuser() {
    let hosted = Hosted::start(8).await;
    let configs: Vec<DatabaseConfig> = hosted
        .databases
        .iter()
        .map(|name| hosted.config("operator", name))
        .collect();
    let runs = configs
        .iter()
        .map(|config| migrate::migrate_with(config, Sets::ALL));
    for run in join_all(runs).await {
        assert_eq!(run.unwrap(), migrate::all());
    }
    assert_eq!(hosted.roles().await, 3);
    for config in &configs {
        migrate::check_with(config, Sets::ALL).await.unwrap();
    }
    // Whoever made the roles makes users of them.
    let operator = hosted.server.raw("operator", "db0").await;
    let sql = "CREATE ROLE one_worker LOGIN IN ROLE clipbase_worker";
    operator.batch_execute(sql).await.unwrap();
    let worker = hosted.server.raw("one_worker", "db5").await;
    assert_eq!(count(&worker, "select count(*) from jobs").await, 0);
    worker
        .query("select 1 from storage_deletions", &[])
        .await
        .unwrap();
    let refused = worker.query("select 1 from api_keys", &[]).await;
    refused.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_make_roles_is_told_what_to_ask_for_and_then_migrates() {
    let hosted = Hosted::start(1).await;
    let admin = hosted.server.raw("postgres", "db0").await;
    let sql = "ALTER DATABASE db0 OWNER TO plain";
    admin.batch_execute(sql).await.unwrap();
    let error = hosted.migrate("plain", Sets::ROLES).await.unwrap_err();
    assert_eq!(error.code(), Code::DbConflict);
    let text = error.to_string();
    assert!(text.contains("may not make roles"), "{text}");
    let fix = "CREATE ROLE clipbase_api NOLOGIN";
    assert!(text.contains(fix), "{text}");
    assert_eq!(hosted.roles().await, 0);
    let tables = "select count(*) from pg_class where oid = to_regclass('public.jobs')";
    assert_eq!(count(&admin, tables).await, 0, "all of it was taken back");

    for role in super::ROLES {
        let sql = format!("CREATE ROLE {role} NOLOGIN");
        admin.batch_execute(&sql).await.unwrap();
    }
    let applied = hosted.migrate("plain", Sets::ALL).await.unwrap();
    assert_eq!(applied, migrate::all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_that_name_that_is_a_user_is_not_given_the_tables() {
    let hosted = Hosted::start(1).await;
    let admin = hosted.server.raw("postgres", "db0").await;
    for (attribute, undo) in [
        ("LOGIN", "NOLOGIN"),
        ("SUPERUSER", "NOSUPERUSER"),
        ("BYPASSRLS", "NOBYPASSRLS"),
        ("CREATEROLE", "NOCREATEROLE"),
        ("CREATEDB", "NOCREATEDB"),
        ("REPLICATION", "NOREPLICATION"),
    ] {
        let sql = format!(
            "DO $$ BEGIN IF to_regrole('clipbase_worker') IS NULL THEN CREATE ROLE clipbase_worker; END IF; END $$;
             ALTER ROLE clipbase_worker {attribute}"
        );
        admin.batch_execute(&sql).await.unwrap();
        let error = hosted.migrate("operator", Sets::ROLES).await.unwrap_err();
        assert_eq!(error.code(), Code::DbConflict, "{error}");
        let expected = format!("clipbase_worker has {attribute}");
        assert!(error.to_string().contains(&expected), "{error}");
        let sql = format!("ALTER ROLE clipbase_worker {undo}");
        admin.batch_execute(&sql).await.unwrap();
    }
    let applied = hosted.migrate("operator", Sets::ROLES).await.unwrap();
    assert_eq!(applied, [CORE, ROLES].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_does_not_own_the_tables_is_told_to_be_their_owner() {
    let hosted = Hosted::start(1).await;
    hosted.migrate("operator", Sets::CORE).await.unwrap();
    let admin = hosted.server.raw("postgres", "db0").await;
    let sql = "GRANT CREATE ON SCHEMA public TO plain; ALTER ROLE plain CREATEROLE;
               GRANT USAGE ON SCHEMA supabase_migrations TO plain;
               GRANT ALL ON supabase_migrations.schema_migrations, clipbase_migrations TO plain;
               CREATE POLICY plain ON clipbase_migrations TO plain USING (true)";
    admin.batch_execute(sql).await.unwrap();
    let error = hosted.migrate("plain", Sets::ROLES).await.unwrap_err();
    assert_eq!(error.code(), Code::DbFailed);
    let text = error.to_string();
    assert!(
        text.contains("20261124000100_roles was taken back"),
        "{text}"
    );
    assert!(text.contains("the owner of clipbase's tables"), "{text}");
    assert_eq!(hosted.roles().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_was_closed_is_opened_to_the_roles_by_its_owner() {
    let hosted = Hosted::start(1).await;
    let operator = hosted.server.raw("operator", "db0").await;
    let sql = "REVOKE ALL ON SCHEMA public FROM PUBLIC";
    operator.batch_execute(sql).await.unwrap();
    hosted.migrate("operator", Sets::ROLES).await.unwrap();
    operator
        .batch_execute("CREATE ROLE looker LOGIN IN ROLE clipbase_reader")
        .await
        .unwrap();
    let looker = hosted.server.raw("looker", "db0").await;
    assert_eq!(count(&looker, "select count(*) from public.jobs").await, 0);
}
