//! No role has a grant that it does not need, and none without its policy.

use clipbase::db::Statement;
use clipbase::db::statement::all;
use clipbase_testkit::TestDatabase;
use tokio_postgres::Client;

use super::table::who_may;
use super::{Explainer, ROLES};

/// Each grant of a role: on a table or on a column, as GRANT has it. A SELECT on a whole table stays whole: it means
/// the columns to come as well.
const GRANTS: &str = "
select format('%s ON public.%I', acl.privilege_type, class.relname)
  from pg_class class cross join lateral aclexplode(class.relacl) acl
 where class.relnamespace = 'public'::regnamespace and acl.grantee = to_regrole($1)
union all
select format('%s (%I) ON public.%I', acl.privilege_type, att.attname, class.relname)
  from pg_attribute att join pg_class class on class.oid = att.attrelid
 cross join lateral aclexplode(att.attacl) acl
 where class.relnamespace = 'public'::regnamespace and acl.grantee = to_regrole($1)
 order by 1";

async fn grants(client: &Client, role: &str) -> Vec<String> {
    let rows = client.query(GRANTS, &[&role]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Whether some statement of the role misses what was just revoked.
async fn is_missed(explainer: &Explainer, statements: &[&Statement]) -> bool {
    for statement in statements {
        if !explainer.may_run(statement).await {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn every_grant_of_a_role_is_missed_by_a_statement_that_it_may_run() {
    let database = TestDatabase::new().await;
    let explainer = Explainer::new(&database).await;
    let client = &explainer.client;
    let mut unneeded = Vec::new();
    let mut count = 0;
    for role in ROLES {
        let statements: Vec<&Statement> = all()
            .filter(|statement| who_may(statement.name).contains(&role))
            .collect();
        for grant in grants(client, role).await {
            let sql = format!("BEGIN; REVOKE {grant} FROM {role}; SET LOCAL ROLE {role}");
            client.batch_execute(&sql).await.unwrap();
            if !is_missed(&explainer, &statements).await {
                unneeded.push(format!("{role}: {grant}"));
            }
            client.batch_execute("ROLLBACK").await.unwrap();
            count += 1;
        }
    }
    assert!(unneeded.is_empty(), "{unneeded:#?}");
    assert!(count > 100, "{count} grants were tried");
    database.drop_database().await;
}

/// A grant without a policy shows no row, and a policy for more than is granted means that a grant was forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_has_one_policy_on_each_table_that_it_has_a_grant_on() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    let sql = "
        with granted as (
            select distinct role.oid as role, held.table_oid, held.verb
              from pg_roles role
              join (select class.oid as table_oid, acl.grantee, acl.privilege_type as verb
                      from pg_class class cross join lateral aclexplode(class.relacl) acl
                     where class.relnamespace = 'public'::regnamespace
                    union all
                    select class.oid, acl.grantee, acl.privilege_type
                      from pg_attribute att join pg_class class on class.oid = att.attrelid
                     cross join lateral aclexplode(att.attacl) acl
                     where class.relnamespace = 'public'::regnamespace) held on held.grantee = role.oid
             where role.rolname like 'clipbase\\_%'
        ),
        wanted as (
            select role, table_oid, case when array_agg(verb) = '{SELECT}' then 'r' else '*' end as command
              from granted group by role, table_oid
        ),
        found as (
            select polroles[1] as role, polrelid as table_oid, polcmd::text as command
              from pg_policy
             where cardinality(polroles) = 1 and polname = polroles[1]::regrole::name
        )
        select format('%s on %s: %s', role::regrole, table_oid::regclass, command)
          from ((select * from wanted except all select * from found)
                union all (select * from found except all select * from wanted)) as differing";
    let rows = client.query(sql, &[]).await.unwrap();
    let wrong: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    database.drop_database().await;
}
