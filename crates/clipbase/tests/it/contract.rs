//! Every statement is what it is declared to be, on the migrated schema.

use clipbase::db::statement::all;
use clipbase_testkit::{Bench, run};
use tokio_postgres::types::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_has_its_declared_parameters_and_columns() {
    run(async |bench: &Bench| {
        let client = bench.database.raw().await;
        for statement in all() {
            for number in 1..=statement.params.len() + 1 {
                let is_used = uses(statement.sql, number);
                let is_declared = number <= statement.params.len();
                assert_eq!(is_used, is_declared, "{}: ${number}", statement.name);
            }
            let prepared = client.prepare_typed(statement.sql, statement.params).await;
            let prepared = prepared.unwrap_or_else(|error| panic!("{}: {error:?}", statement.name));
            assert_eq!(prepared.params(), statement.params, "{}", statement.name);
            let described: Vec<_> = prepared
                .columns()
                .iter()
                .map(|column| (column.name().to_owned(), column.type_().clone()))
                .collect();
            let declared: Vec<_> = statement
                .columns
                .iter()
                .map(|column| (column.name.to_owned(), column.kind.clone()))
                .collect();
            assert_eq!(described, declared, "{}", statement.name);
        }
    })
    .await;
}

/// Tells whether the text has the parameter: `$1`, but not the start of `$10`.
fn uses(sql: &str, number: usize) -> bool {
    sql.split(&format!("${number}"))
        .skip(1)
        .any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_speaks_a_type_that_is_not_built_in() {
    run(async |bench: &Bench| {
        let client = bench.database.raw().await;
        for statement in all() {
            let prepared = client
                .prepare_typed(statement.sql, statement.params)
                .await
                .unwrap();
            let columns = prepared.columns().iter().map(tokio_postgres::Column::type_);
            for kind in prepared.params().iter().chain(columns) {
                // Oids from 16384 on are given out at run time, and would cost a look-up on the wire.
                assert!(kind.oid() < 16_384, "{}: {kind}", statement.name);
                assert!(
                    matches!(kind.kind(), Kind::Simple | Kind::Array(_)),
                    "{}: {kind}",
                    statement.name
                );
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_is_nullable_where_the_tables_column_is() {
    run(async |bench: &Bench| {
        let client = bench.database.raw().await;
        let mut compared = 0;
        for statement in all() {
            let prepared = client
                .prepare_typed(statement.sql, statement.params)
                .await
                .unwrap();
            for (column, declared) in prepared.columns().iter().zip(statement.columns) {
                let (Some(table), Some(number)) = (column.table_oid(), column.column_id()) else {
                    continue;
                };
                let sql = "select attnotnull from pg_attribute where attrelid = $1 and attnum = $2";
                let not_null: bool = client
                    .query_one(sql, &[&table, &number])
                    .await
                    .unwrap()
                    .get(0);
                assert_eq!(
                    declared.nullable, !not_null,
                    "{}: {}",
                    statement.name, declared.name
                );
                compared += 1;
            }
        }
        assert!(
            compared > 100,
            "{compared} columns come straight from a table"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrated_database_has_no_drift() {
    run(async |bench: &Bench| {
        assert_eq!(bench.clipbase.inspect().drift().await.unwrap(), [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_names_the_statements_that_miss_a_column_or_meet_another_type() {
    run(async |bench: &Bench| {
        let client = bench.database.raw().await;
        let sql = "alter table clipbase_installation drop column database_identity;
                   alter table storage_deletions alter column last_error_code type text;";
        client.batch_execute(sql).await.unwrap();
        let drift = bench.clipbase.inspect().drift().await.unwrap();
        let about = |name: &str| drift.iter().find(|line| line.starts_with(name)).cloned();
        let missing = about("installation.read").expect("it reads the dropped column");
        assert!(missing.contains("SQLSTATE 42703"), "{missing}");
        let changed = about("cleanup.due_deletions").expect("it reads the changed column");
        assert!(changed.contains("the columns are"), "{changed}");
    })
    .await;
}
