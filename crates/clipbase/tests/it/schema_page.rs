//! `docs/SCHEMA.md` is made from the catalog, and the same on every version of PostgreSQL.

use clipbase_testkit::{Bench, run};
use tokio_postgres::{Client, Row};

use crate::generated;

const INTRODUCTION: &str = "# The schema

Made from the catalog of a migrated database, and compared with it by a test. Every table is in the schema
`public`, has row-level security on, and no policy for and no grant to `PUBLIC`, `anon` or `authenticated`.
`api_keys` is there only where its set of migrations was asked for, and so are the roles, each with one policy for all
rows of each table that it is named at: [OPERATIONS.md](OPERATIONS.md) says who is to be a member of which.
";

const TABLES: &str = "
select class.relname::text, obj_description(class.oid, 'pg_class'), class.oid,
       array_to_string(class.reloptions, ', ')
  from pg_class class
 where class.relnamespace = 'public'::regnamespace and class.relkind = 'r'
 order by array_position(array['jobs', 'job_events'], class.relname::text), class.relname";

const COLUMNS: &str = r"
select att.attname::text, format_type(att.atttypid, att.atttypmod), case when att.attnotnull then 'no' else 'yes' end,
       case att.attgenerated when 's' then 'generated:' else '' end || regexp_replace(coalesce(pg_get_expr(def.adbin, def.adrelid), ''), '\s+', ' ', 'g'),
       coalesce(col_description(att.attrelid, att.attnum), '')
  from pg_attribute att
  left join pg_attrdef def on def.adrelid = att.attrelid and def.adnum = att.attnum
 where att.attrelid = $1 and att.attnum > 0 and not att.attisdropped
 order by att.attnum";

// From version 18 on NOT NULL is a constraint too; here it is a column's property.
const CONSTRAINTS: &str = "
select con.conname::text, pg_get_constraintdef(con.oid)
  from pg_constraint con
 where con.conrelid = $1 and con.contype in ('p', 'u', 'c', 'f')
 order by array_position(array['p', 'u', 'f', 'c'], con.contype::text), con.conname";

const INDEXES: &str = "
select class.relname::text, pg_get_indexdef(class.oid), obj_description(class.oid, 'pg_class')
  from pg_index ix join pg_class class on class.oid = ix.indexrelid
 where ix.indrelid = $1 and not ix.indisprimary
 order by class.relname";

const TRIGGERS: &str = "
select trg.tgname::text, pg_get_triggerdef(trg.oid), obj_description(trg.tgfoid, 'pg_proc')
  from pg_trigger trg
 where trg.tgrelid = $1 and not trg.tgisinternal
 order by trg.tgname";

const ROLES: &str = "
with granted as (
    select acl.grantee, acl.privilege_type as verb, null::int2 as number, null::name as column
      from pg_class class cross join lateral aclexplode(class.relacl) acl where class.oid = $1
    union all
    select acl.grantee, acl.privilege_type, att.attnum, att.attname
      from pg_attribute att cross join lateral aclexplode(att.attacl) acl where att.attrelid = $1
),
verbs as (
    select grantee, verb,
           verb || coalesce(' (' || string_agg(\"column\", ', ' order by number) || ')', '') as text
      from granted group by grantee, verb
)
select role.rolname::text,
       string_agg(verbs.text, ', ' order by array_position(array['SELECT', 'INSERT', 'UPDATE', 'DELETE'], verbs.verb))
  from verbs join pg_roles role on role.oid = verbs.grantee and role.rolname like 'clipbase\\_%'
 group by role.rolname
 order by array_position(array['clipbase_api', 'clipbase_worker', 'clipbase_reader'], role.rolname::text)";

const ENUMS: &str = "
select typ.typname::text, string_agg(enum.enumlabel, ', ' order by enum.enumsortorder), obj_description(typ.oid, 'pg_type')
  from pg_type typ join pg_enum enum on enum.enumtypid = typ.oid
 where typ.typnamespace = 'public'::regnamespace
 group by typ.oid, typ.typname order by typ.typname";

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_schema() {
    run(async |bench: &Bench| {
        let client = bench.database.raw().await;
        let mut page = INTRODUCTION.to_owned();
        for row in client.query(ENUMS, &[]).await.unwrap() {
            let (name, values, comment): (String, String, String) =
                (row.get(0), row.get(1), row.get(2));
            page.push_str(&format!("\n## Type `{name}`\n\n`{values}`\n\n{comment}\n"));
        }
        for row in client.query(TABLES, &[]).await.unwrap() {
            page.push_str(&table(&client, &row).await);
        }
        generated::compare("docs/SCHEMA.md", &page);
    })
    .await;
}

async fn table(client: &Client, row: &Row) -> String {
    let (name, comment, oid): (String, String, u32) = (row.get(0), row.get(1), row.get(2));
    let mut text = format!(
        "\n## `{name}`\n\n{comment}\n\n| column | type | null | default | meaning |\n|---|---|---|---|---|\n"
    );
    for row in client.query(COLUMNS, &[&oid]).await.unwrap() {
        let [column, kind, null, default, meaning]: [String; 5] =
            std::array::from_fn(|i| row.get(i));
        let default = if default.is_empty() {
            default
        } else {
            format!("`{default}`")
        };
        text.push_str(&format!(
            "| `{column}` | {kind} | {null} | {default} | {meaning} |\n"
        ));
    }
    text.push_str("\nConstraints:\n\n");
    for row in client.query(CONSTRAINTS, &[&oid]).await.unwrap() {
        let (name, definition): (String, String) = (row.get(0), row.get(1));
        text.push_str(&format!("- `{name}`: `{definition}`\n"));
    }
    for (title, sql) in [("Indexes", INDEXES), ("Triggers", TRIGGERS)] {
        let rows = client.query(sql, &[&oid]).await.unwrap();
        if !rows.is_empty() {
            text.push_str(&format!("\n{title}:\n\n"));
        }
        for row in rows {
            let (name, definition, comment): (String, String, String) =
                (row.get(0), row.get(1), row.get(2));
            text.push_str(&format!(
                "- `{name}`: {comment}\n\n  ```sql\n  {definition}\n  ```\n"
            ));
        }
    }
    let roles = client.query(ROLES, &[&oid]).await.unwrap();
    if !roles.is_empty() {
        text.push_str("\nRoles:\n\n");
    }
    for row in roles {
        let (role, grants): (String, String) = (row.get(0), row.get(1));
        text.push_str(&format!("- `{role}`: {grants}\n"));
    }
    if let Some(options) = row.get::<_, Option<String>>(3) {
        text.push_str(&format!("\nStorage: `{options}`\n"));
    }
    text
}
