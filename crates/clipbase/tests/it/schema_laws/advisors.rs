//! What Supabase's advisors look for, as far as it can concern a schema like this: each check in our own
//! words. `rls_enabled_no_policy` (on a database without the roles) and `unused_index` are what is meant here, and
//! are not asked.

use clipbase_testkit::{Bench, run};

use super::offenders;

const CHECKS: &[(&str, &str)] = &[
    (
        "rls_disabled_in_public",
        "select class.relname::text from pg_class class
          where class.relnamespace = 'public'::regnamespace and class.relkind = 'r' and not class.relrowsecurity
            and (has_table_privilege('anon', class.oid, 'select, insert, update, delete')
                 or has_table_privilege('authenticated', class.oid, 'select, insert, update, delete'))",
    ),
    (
        "policy_exists_rls_disabled",
        "select class.relname::text from pg_policy policy join pg_class class on class.oid = policy.polrelid
          where not class.relrowsecurity",
    ),
    (
        "permissive_rls_policy",
        "select polname::text from pg_policy
          where polpermissive and coalesce(pg_get_expr(polqual, polrelid), 'true') = 'true'
            and exists (select from unnest(polroles) as named (oid)
                         where named.oid = 0 or named.oid::regrole::text in ('anon', 'authenticated'))",
    ),
    (
        "multiple_permissive_policies",
        "select policy.polrelid::regclass || ' for ' || role.rolname
           from pg_policy policy
           join pg_roles role on role.oid = any (policy.polroles) or policy.polroles = '{0}'
          cross join lateral unnest(case when policy.polcmd = '*' then array['r', 'a', 'w', 'd']
                                         else array[policy.polcmd::text] end) as command
          where policy.polpermissive and not role.rolbypassrls and role.rolname not like 'pg\\_%'
          group by policy.polrelid, role.rolname, command
         having count(*) > 1",
    ),
    (
        "function_search_path_mutable",
        "select proc.proname::text from pg_proc proc
          where proc.pronamespace = 'public'::regnamespace
            and not exists (select from unnest(proc.proconfig) setting where setting like 'search_path=%')",
    ),
    (
        "security_definer_function_executable",
        "select proc.proname::text from pg_proc proc
          where proc.pronamespace = 'public'::regnamespace and proc.prosecdef
            and (has_function_privilege('anon', proc.oid, 'execute')
                 or has_function_privilege('authenticated', proc.oid, 'execute'))",
    ),
    (
        "security_definer_view",
        "select relname::text from pg_class
          where relnamespace = 'public'::regnamespace and relkind in ('v', 'm')",
    ),
    (
        "unindexed_foreign_keys",
        "select con.conname::text from pg_constraint con
          where con.contype = 'f' and con.connamespace = 'public'::regnamespace
            and not exists (select from pg_index ix where ix.indrelid = con.conrelid
                             and (ix.indkey::int2[])[0:cardinality(con.conkey) - 1] @> con.conkey)",
    ),
    (
        "duplicate_index",
        "select string_agg(ix.indexrelid::regclass::text, ', ')
           from pg_index ix join pg_class class on class.oid = ix.indexrelid
          where class.relnamespace = 'public'::regnamespace
          group by ix.indrelid, ix.indkey::text, ix.indclass::text, ix.indoption::text,
                   pg_get_expr(ix.indpred, ix.indrelid), pg_get_expr(ix.indexprs, ix.indrelid)
         having count(*) > 1",
    ),
    (
        "no_primary_key",
        "select class.relname::text from pg_class class
          where class.relnamespace = 'public'::regnamespace and class.relkind = 'r'
            and not exists (select from pg_index ix where ix.indrelid = class.oid and ix.indisprimary)",
    ),
    (
        "sensitive_columns_exposed",
        "select class.relname || '.' || att.attname
           from pg_attribute att join pg_class class on class.oid = att.attrelid
          where class.relnamespace = 'public'::regnamespace and class.relkind = 'r'
            and att.attname ~ '(password|secret|token|key_hash)'
            and has_table_privilege('anon', class.oid, 'select')",
    ),
    (
        "extension_in_public",
        "select extname::text from pg_extension where extnamespace = 'public'::regnamespace",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_advisors_find_nothing() {
    run(async |bench: &Bench| {
        for (name, sql) in CHECKS {
            assert_eq!(offenders(bench, sql).await, [""; 0], "{name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_advisors_find_what_is_wrong_where_something_is() {
    run(async |bench: &Bench| {
        let client = bench.database.raw().await;
        let wrong = "create table wrong (token text, job uuid references jobs (id));
            create table wrong_rls (id int primary key, other int);
            create policy p on wrong_rls using (true);
            create policy q on wrong_rls for select to anon using (true);
            create index a on wrong_rls (other); create index b on wrong_rls (other);
            create view wrong_view as select 1 as one;
            create function wrong_function() returns int language sql security definer as 'select 1';";
        client.batch_execute(wrong).await.unwrap();
        for (name, sql) in CHECKS.iter().filter(|(name, _)| *name != "extension_in_public") {
            assert_ne!(offenders(bench, sql).await, [""; 0], "{name} is blind");
        }
    })
    .await;
}
