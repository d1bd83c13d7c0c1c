//! Tables as they look after a while: mostly ended jobs with their events, thousands queued and at work.

use tokio_postgres::Client;

/// How many jobs, and how their times are spread.
#[derive(Clone, Copy)]
pub(super) struct Volume {
    pub(super) jobs: u32,
    /// All jobs created and due at one moment, as a bulk load makes them.
    pub(super) is_one_moment: bool,
}

/// Fills the tables, past the triggers, and tells the planner about it.
pub(super) async fn fill(client: &Client, volume: Volume) {
    load(client, volume).await;
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
}

/// Fills the tables. Out of 100 jobs, 86 have ended, 8 wait and 6 are at work; 8 shards, three priorities.
pub(super) async fn load(client: &Client, volume: Volume) {
    let age = if volume.is_one_moment {
        "interval '1 day'"
    } else {
        "make_interval(secs => (jobs - n) * 0.6)"
    };
    let jobs = volume.jobs;
    let sql = format!(
        "BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO public.jobs
    (id, status, priority, shard, source_type, source_key, start_sec, end_sec, created_at, run_at, event_seq,
     lease, attempts, worker_id, lease_expires_at, last_heartbeat_at, started_at, finished_at, expires_at, source_expires_at,
     result_video_key, error_code)
SELECT id, status::public.job_status, (ARRAY['high', 'normal', 'normal', 'low'])[1 + n % 4], n % 8, 'upload',
       'sources/' || id || '/source.mp4', 0, 10, made, made, CASE WHEN status = 'queued' THEN 1 ELSE 3 END,
       started, started, CASE WHEN started = 1 THEN md5((n % 50)::text)::uuid END,
       CASE WHEN status = 'processing' THEN now() + interval '1 hour' END,
       CASE WHEN started = 1 THEN made END, CASE WHEN started = 1 THEN made END,
       CASE WHEN status IN ('done', 'failed') THEN made END,
       CASE WHEN status IN ('done', 'failed') THEN made + interval '7 days' END,
       CASE WHEN status IN ('done', 'failed') THEN made + interval '1 day' END,
       CASE WHEN status = 'done' THEN 'results/' || id || '/clip.mp4' END,
       CASE WHEN status = 'failed' THEN 'FFMPEG_FAILED' END
  FROM (SELECT n, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id, now() - {age} AS made, status,
               CASE WHEN status = 'queued' THEN 0 ELSE 1 END AS started
          FROM (SELECT {jobs} AS jobs, n, CASE WHEN n * 37 % 100 < 8 THEN 'queued' WHEN n * 37 % 100 < 14 THEN 'processing'
                            WHEN n * 37 % 100 < 20 THEN 'failed' ELSE 'done' END AS status
                  FROM generate_series(1, {jobs}) AS n) AS numbered) AS drawn;
INSERT INTO public.job_events (job_id, seq, ts, type, data)
SELECT job.id, seq, job.created_at, (ARRAY['created', 'claimed', 'finished'])[seq],
       '{{\"by\": \"worker\", \"set\": {{\"status\": \"queued\"}}}}'
  FROM public.jobs AS job CROSS JOIN generate_series(1, job.event_seq) AS seq
 ORDER BY seq, job.created_at;
INSERT INTO public.storage_deletions (object_key, job_id, reason, next_attempt_at)
SELECT 'results/' || gone || '/clip.mp4', gone, 'job_deleted', now() + make_interval(secs => n - 500)
  FROM (SELECT n, md5('gone ' || n)::uuid AS gone FROM generate_series(1, {jobs} / 5) AS n) AS drawn;
INSERT INTO public.job_idempotency (scope, key, fingerprint, job_id, expires_at)
SELECT 'scope ' || n % 10, 'key ' || n, '\\x00', ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, now() + make_interval(secs => n - 500)
  FROM generate_series(1, {jobs} / 5) AS n;
INSERT INTO public.api_keys (id, name, key_hash, scopes)
SELECT md5('key ' || n)::uuid, 'key ' || n, 'hash ' || n, 'jobs:read' FROM generate_series(1, {jobs} / 50) AS n;
COMMIT"
    );
    client.batch_execute(&sql).await.unwrap();
}

/// Adds queued jobs that are due, to one shard.
pub(super) async fn queue(client: &Client, jobs: u32, shard: i32) {
    let sql = format!(
        "BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO public.jobs (id, shard, source_type, source_key, start_sec, end_sec, created_at, run_at, event_seq)
SELECT ('00000000-0000-7000-8{shard:03x}-' || lpad(to_hex(n), 12, '0'))::uuid, {shard}, 'upload', 'sources/x', 0, 10, made, made, 1
  FROM (SELECT n, now() - make_interval(secs => {jobs} - n) AS made FROM generate_series(1, {jobs}) AS n) AS drawn;
COMMIT"
    );
    client.batch_execute(&sql).await.unwrap();
}
