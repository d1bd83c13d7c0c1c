//! Objects read from Supabase's own table, where the database has it.

use clipbase::JobId;
use clipbase::cleanup::{ReconcileOptions, ReconcileSource};
use clipbase::db::statement::optional;
use clipbase::storage::{Bucket, Operation, StorageKey};
use clipbase_testkit::{Bench, run};
use tokio_postgres::Client;

use super::reconcile::{deleting, old, reconcile};
use super::{MARKERS, clean_up, finished};

/// The tables as the storage server's migrations make them, as far as they matter here.
const TABLES: &str = r#"
CREATE SCHEMA storage;
CREATE TABLE storage.buckets (
    id text PRIMARY KEY, name text NOT NULL, owner uuid, created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(), public boolean DEFAULT false, file_size_limit bigint,
    allowed_mime_types text[]);
CREATE TABLE storage.objects (
    id uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY, bucket_id text REFERENCES storage.buckets (id),
    name text, owner uuid, created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now(),
    last_accessed_at timestamptz DEFAULT now(), metadata jsonb,
    path_tokens text[] GENERATED ALWAYS AS (string_to_array(name, '/')) STORED, version text, owner_id text,
    user_metadata jsonb);
CREATE UNIQUE INDEX bucketid_objname ON storage.objects (bucket_id, name);
CREATE INDEX idx_objects_bucket_id_name ON storage.objects (bucket_id, name COLLATE "C");
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
INSERT INTO storage.buckets (id, name) VALUES ('sources', 'sources'), ('results', 'results');"#;

/// Shows in the table what the storage holds.
async fn fill(bench: &Bench, client: &Client) {
    for key in bench.storage.object_keys() {
        let (bucket, name) = key.split_once('/').unwrap();
        let sql = "INSERT INTO storage.objects (bucket_id, name, updated_at, metadata)
                   VALUES ($1, $2, now() - interval '26 h', '{\"size\": 7, \"mimetype\": \"video/mp4\"}')
                   ON CONFLICT DO NOTHING";
        client.execute(sql, &[&bucket, &name]).await.unwrap();
    }
}

fn by(source: ReconcileSource) -> ReconcileOptions {
    ReconcileOptions {
        source,
        ..deleting()
    }
}

#[tokio::test]
async fn the_table_is_read_where_it_shows_the_markers_and_finds_what_a_listing_finds() {
    run(async |bench| {
        let client = bench.database.raw().await;
        client.batch_execute(TABLES).await.unwrap();
        let unowned = StorageKey::result_video(JobId::new(), 2);
        old(bench, &unowned).await;
        finished(bench).await;
        bench
            .storage
            .put_foreign(Bucket::Sources, "Ärger/x", "theirs")
            .unwrap();
        let listed = reconcile(bench, &ReconcileOptions::default()).await;
        assert_eq!(listed.source, ReconcileSource::List, "the table is empty");

        fill(bench, &client).await;
        let lists = bench.storage.calls(Operation::List);
        let read = reconcile(bench, &by(ReconcileSource::Auto)).await;
        assert_eq!(read.source, ReconcileSource::Sql);
        assert_eq!(bench.storage.calls(Operation::List), lists);
        assert_eq!((read.results.objects, read.results.unowned), (4, 1));
        assert_eq!((read.results.unowned_bytes, read.results.enqueued), (7, 1));
        assert_eq!((read.sources.foreign, read.sources.missing), (1, 0));
        assert_eq!(read.foreign_objects, listed.foreign_objects);
        assert_eq!(read.unowned_objects, listed.unowned_objects);
        assert_eq!(clean_up(bench).await.objects_removed, 1);
        assert_eq!(bench.storage.object_count(), 4 + MARKERS);

        let forced = reconcile(bench, &by(ReconcileSource::List)).await;
        assert_eq!(forced.source, ReconcileSource::List);
        let forced = reconcile(bench, &by(ReconcileSource::Sql)).await;
        assert_eq!(forced.source, ReconcileSource::Sql);
    })
    .await;
}

#[tokio::test]
async fn a_table_that_shows_one_marker_or_is_another_ones_is_not_believed() {
    run(async |bench| {
        let client = bench.database.raw().await;
        client.batch_execute(TABLES).await.unwrap();
        fill(bench, &client).await;
        let sql = "DELETE FROM storage.objects WHERE bucket_id = 'results'";
        client.batch_execute(sql).await.unwrap();
        let report = reconcile(bench, &by(ReconcileSource::Auto)).await;
        assert_eq!(report.source, ReconcileSource::List);
        let sql = "DROP TABLE storage.objects; CREATE TABLE storage.objects (id int)";
        client.batch_execute(sql).await.unwrap();
        let report = reconcile(bench, &by(ReconcileSource::Auto)).await;
        assert_eq!(report.source, ReconcileSource::List);
    })
    .await;
}

#[tokio::test]
async fn thousands_of_rows_are_read_by_page_along_the_index() {
    run(async |bench| {
        let client = bench.database.raw().await;
        client.batch_execute(TABLES).await.unwrap();
        fill(bench, &client).await;
        let sql = "INSERT INTO storage.objects (bucket_id, name, updated_at, metadata)
                   SELECT 'sources', gen_random_uuid() || '/source.mp4', now() - interval '26 h', '{\"size\": 1}'
                     FROM generate_series(1, 20000);
                   ANALYZE storage.objects";
        client.batch_execute(sql).await.unwrap();
        let report = reconcile(bench, &ReconcileOptions::default()).await;
        assert_eq!(report.source, ReconcileSource::Sql);
        assert_eq!((report.sources.objects, report.sources.unowned), (20_001, 20_000));
        assert_eq!(report.sources.bytes, 20_007);
        let page = optional().find(|s| s.name == "cleanup.objects_page").unwrap();
        let sql = format!(
            "SET plan_cache_mode = force_generic_plan; PREPARE page (text, text, int8) AS {};",
            page.sql
        );
        client.batch_execute(&sql).await.unwrap();
        let sql = "EXPLAIN EXECUTE page ('sources', '5', 1000)";
        let rows = client.simple_query(sql).await.unwrap();
        let plan = format!("{rows:?}");
        assert!(plan.contains("idx_objects_bucket_id_name"), "{plan}");
        assert!(!plan.contains("Sort") && !plan.contains("Seq Scan"), "{plan}");
    })
    .await;
}

#[tokio::test]
async fn the_statements_on_the_table_are_what_they_are_declared_to_be() {
    run(async |bench| {
        let client = bench.database.raw().await;
        client.batch_execute(TABLES).await.unwrap();
        let mut count = 0;
        for statement in optional() {
            let prepared = client.prepare_typed(statement.sql, statement.params).await;
            let prepared = prepared.unwrap();
            let described: Vec<_> = prepared
                .columns()
                .iter()
                .map(|column| (column.name(), column.type_().clone()))
                .collect();
            let declared: Vec<_> = statement
                .columns
                .iter()
                .map(|column| (column.name, column.kind.clone()))
                .collect();
            assert_eq!(described, declared, "{}", statement.name);
            assert_eq!(prepared.params(), statement.params);
            count += 1;
        }
        assert_eq!(count, 2);
        // The drift check knows nothing of them: it is the same on a database without the table.
        assert_eq!(bench.clipbase.inspect().drift().await.unwrap(), [""; 0]);
    })
    .await;
}
