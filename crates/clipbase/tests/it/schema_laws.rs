//! Laws that every table, column, index and function of the schema obeys. Each query lists offenders.

use clipbase::JobStatus;
use clipbase_testkit::{Bench, run};

use crate::seed::SeedClient;

mod advisors;

pub(crate) async fn offenders(bench: &Bench, sql: &str) -> Vec<String> {
    let client = bench.database.raw().await;
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Runs a law on a database of its own and fails with whoever breaks it.
async fn nobody(sql: &str) {
    run(async |bench: &Bench| {
        let found = offenders(bench, sql).await;
        assert!(found.is_empty(), "{found:#?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_has_row_level_security_on_and_policies_for_our_own_roles_alone() {
    // PUBLIC is role 0, and has no name among ours.
    nobody(
        "select relname::text from pg_class
          where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relrowsecurity
         union all
         select polname || ' on ' || polrelid::regclass from pg_policy
          where exists (select from unnest(polroles) as named (oid)
                         where not exists (select from pg_roles role
                                            where role.oid = named.oid
                                              and role.rolname in ('clipbase_api', 'clipbase_worker', 'clipbase_reader')))",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_roles_are_groups_without_any_attribute_and_of_no_other_group() {
    nobody(
        "select role.rolname::text from pg_roles role
          where role.rolname in ('clipbase_api', 'clipbase_worker', 'clipbase_reader')
            and (role.rolcanlogin or role.rolsuper or role.rolbypassrls or role.rolcreaterole or role.rolcreatedb
                 or role.rolreplication or exists (select from pg_auth_members where member = role.oid))
         union all
         select 'only ' || count(*) || ' of 3' from pg_roles
          where rolname in ('clipbase_api', 'clipbase_worker', 'clipbase_reader') having count(*) <> 3",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_roles_may_truncate_refer_to_or_hang_triggers_on_nothing_and_grant_nothing_on() {
    nobody(
        "select acl.grantee::regrole || ' may ' || acl.privilege_type || ' on ' || class.relname
           from pg_class class cross join lateral aclexplode(class.relacl) acl
          where class.relnamespace = 'public'::regnamespace and acl.grantee::regrole::text like 'clipbase\\_%'
            and (acl.is_grantable or acl.privilege_type not in ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
         union all
         select acl.grantee::regrole || ' may ' || acl.privilege_type || ' on ' || att.attname
           from pg_attribute att join pg_class class on class.oid = att.attrelid
          cross join lateral aclexplode(att.attacl) acl
          where class.relnamespace = 'public'::regnamespace
            and (acl.is_grantable or acl.privilege_type not in ('SELECT', 'INSERT', 'UPDATE'))
         union all
         select role || ' may call ' || proc.proname
           from pg_proc proc cross join unnest(array['clipbase_api', 'clipbase_worker', 'clipbase_reader']) as role
          where proc.pronamespace = 'public'::regnamespace and has_function_privilege(role, proc.oid, 'execute')
         union all
         select role || ' may create in public'
           from unnest(array['clipbase_api', 'clipbase_worker', 'clipbase_reader']) as role
          where has_schema_privilege(role, 'public', 'create')",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_apis_roles_have_no_right_on_any_table_column_or_sequence() {
    nobody(
        "select role.name || ' may ' || acl.privilege_type || ' on ' || class.relname
           from pg_class class
          cross join lateral aclexplode(coalesce(class.relacl, acldefault('r', class.relowner))) acl
           join (select 'PUBLIC' as name, 0::oid as oid
                 union all select rolname, oid from pg_roles where rolname in ('anon', 'authenticated')) role
             on role.oid = acl.grantee
          where class.relnamespace = 'public'::regnamespace
         union all
         select att.attname || ' of ' || class.relname
           from pg_attribute att join pg_class class on class.oid = att.attrelid
          cross join lateral aclexplode(att.attacl) acl
          where class.relnamespace = 'public'::regnamespace
            and (acl.grantee = 0 or acl.grantee in (select oid from pg_roles where rolname in ('anon', 'authenticated')))",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_default_privileges_are_in_place_when_these_laws_are_tested() {
    run(async |bench: &Bench| {
        let client = bench.database.raw().await;
        client
            .batch_execute("create table left_open (id int)")
            .await
            .unwrap();
        let sql = "select has_table_privilege('anon', 'left_open', 'select')::text";
        assert_eq!(offenders(bench, sql).await, ["true"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_is_a_definers_with_an_empty_path_that_nobody_may_call() {
    nobody(
        "select proc.proname::text from pg_proc proc
          where proc.pronamespace = 'public'::regnamespace
            and (not proc.prosecdef or proc.proconfig is distinct from array['search_path=\"\"']
                 or has_function_privilege('anon', proc.oid, 'execute')
                 or has_function_privilege('authenticated', proc.oid, 'execute')
                 or exists (select from aclexplode(coalesce(proc.proacl, acldefault('f', proc.proowner))) acl
                             where acl.grantee = 0))",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_called_job_id_refers_to_its_job_and_goes_with_it() {
    // The outbox outlives its job.
    nobody(
        "select class.relname::text
           from pg_attribute att join pg_class class on class.oid = att.attrelid
          where class.relnamespace = 'public'::regnamespace and class.relkind = 'r' and att.attname = 'job_id'
            and class.relname <> 'storage_deletions'
            and not exists (select from pg_constraint con
                             where con.conrelid = class.oid and con.contype = 'f' and con.confdeltype = 'c'
                               and con.confrelid = 'jobs'::regclass and con.conkey = array[att.attnum])",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_foreign_key_has_an_index() {
    nobody(
        "select con.conname::text from pg_constraint con
          where con.contype = 'f' and con.connamespace = 'public'::regnamespace
            and not exists (select from pg_index ix
                             where ix.indrelid = con.conrelid and ix.indpred is null
                               and (ix.indkey::int2[])[0:cardinality(con.conkey) - 1] = con.conkey)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_time_knows_its_zone_and_every_table_its_key() {
    nobody(
        "select class.relname || '.' || att.attname
           from pg_attribute att join pg_class class on class.oid = att.attrelid
          where class.relnamespace = 'public'::regnamespace and att.atttypid in ('timestamp'::regtype, 'timetz'::regtype)
         union all
         select relname::text from pg_class
          where relnamespace = 'public'::regnamespace and relkind = 'r'
            and not exists (select from pg_constraint where conrelid = pg_class.oid and contype = 'p')",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_column_type_and_index_of_ours_is_described() {
    nobody(
        "select class.relname::text from pg_class class
          where class.relnamespace = 'public'::regnamespace and class.relkind = 'r'
            and obj_description(class.oid, 'pg_class') is null
         union all
         select class.relname || '.' || att.attname
           from pg_attribute att join pg_class class on class.oid = att.attrelid
          where class.relnamespace = 'public'::regnamespace and class.relkind = 'r' and att.attnum > 0
            and not att.attisdropped and col_description(class.oid, att.attnum) is null
         union all
         select class.relname::text from pg_class class
           join pg_index ix on ix.indexrelid = class.oid
          where class.relnamespace = 'public'::regnamespace and not ix.indisprimary
            and obj_description(class.oid, 'pg_class') is null
         union all
         select typname::text from pg_type
          where typnamespace = 'public'::regnamespace and typtype = 'e' and obj_description(oid, 'pg_type') is null
         union all
         select proname::text from pg_proc
          where pronamespace = 'public'::regnamespace and obj_description(oid, 'pg_proc') is null",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_constraint_has_a_name_of_its_own() {
    // The mapping of errors reads the names; a made-up one would end in a number or _check.
    nobody(
        "select conname::text from pg_constraint
          where connamespace = 'public'::regnamespace and contype = 'c' and conname ~ '_check[0-9]*$'",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_enum_is_the_rust_twin() {
    run(async |bench: &Bench| {
        let sql = "select enumlabel::text from pg_enum where enumtypid = 'job_status'::regtype order by enumsortorder";
        let labels = offenders(bench, sql).await;
        assert_eq!(labels, JobStatus::ALL.map(JobStatus::as_str));
    })
    .await;
}

/// `table.column type notnull default`, for the columns that the seed has.
const SEED_COLUMNS: &str = "
select class.relname || '.' || att.attname || ' ' || format_type(att.atttypid, att.atttypmod) || ' '
       || att.attnotnull || ' ' || coalesce(pg_get_expr(def.adbin, def.adrelid), '-')
  from pg_attribute att
  join pg_class class on class.oid = att.attrelid
  left join pg_attrdef def on def.adrelid = att.attrelid and def.adnum = att.attnum
 where class.relnamespace = 'public'::regnamespace and class.relname in ('jobs', 'job_events', 'api_keys')
   and class.relkind = 'r' and att.attnum > 0 and not att.attisdropped
 order by class.relname, att.attnum";

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_columns_defaults_and_index_names_are_there_exactly() {
    run(async |bench: &Bench| {
        let empty = clipbase_testkit::TestDatabase::empty().await;
        let seed = SeedClient::on(&empty).await;
        seed.sql.batch_execute(crate::seed::SCHEMA).await.unwrap();
        let rows = seed.sql.query(SEED_COLUMNS, &[]).await.unwrap();
        let expected: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(expected.len(), 34);
        let ours = offenders(bench, SEED_COLUMNS).await;
        for column in expected {
            assert!(ours.contains(&column), "{column}");
        }
        let sql = "select indexrelid::regclass::text from pg_index
                    where indrelid in ('jobs'::regclass, 'job_events'::regclass, 'api_keys'::regclass) and not indisprimary order by 1";
        let names = offenders(bench, sql).await;
        let rows = seed.sql.query(sql, &[]).await.unwrap();
        for row in &rows {
            assert!(names.contains(&row.get(0)), "{names:?}");
        }
        empty.drop_database().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_heartbeat_or_a_request_writes_is_in_an_index() {
    nobody(
        "select ix.indexrelid::regclass || ' has ' || att.attname
           from pg_index ix
           join pg_attribute att on att.attrelid = ix.indrelid
          where (ix.indrelid = 'jobs'::regclass
                 and att.attname in ('lease_expires_at', 'last_heartbeat_at', 'progress', 'updated_at')
                 or ix.indrelid = 'api_keys'::regclass and att.attname in ('rate_full_at', 'last_used_at'))
            and (att.attnum = any (ix.indkey::int2[])
                 or pg_get_expr(ix.indpred, ix.indrelid) like '%' || att.attname || '%')",
    )
    .await;
}
