//! What is in the queue, and in which order: the SQL that the claim and the doctor share.
//!
//! A queued job is in the queue once its source is named: a client that lets the database make the id can
//! store its source only after the insert. The claim index holds exactly these rows.

/// The condition of the claim index, on the alias `job`. A statement repeats it word for word, or the
/// planner does not know that the index will do.
macro_rules! in_queue {
    () => {
        "job.status = 'queued' AND (job.source_key IS NOT NULL OR job.source_url IS NOT NULL)"
    };
}
pub(crate) use in_queue;

/// The recursive CTE `live (shard)`: the shards that have jobs in the queue, by jumping from one to the next in
/// the index. It ends in a row of NULL.
macro_rules! live_shards_cte {
    () => {
        concat!(
            "
live (shard) AS (
    (SELECT job.shard FROM public.jobs AS job
      WHERE ",
            $crate::queue::in_queue!(),
            "
      ORDER BY job.shard LIMIT 1)
    UNION ALL
    SELECT (SELECT job.shard FROM public.jobs AS job
             WHERE ",
            $crate::queue::in_queue!(),
            "
               AND job.shard > live.shard
             ORDER BY job.shard LIMIT 1)
      FROM live WHERE live.shard IS NOT NULL
)"
        )
    };
}
pub(crate) use live_shards_cte;

/// The CTEs that pick the next jobs: `live` and `picked`.
macro_rules! picked_ctes {
    ($shards:literal, $limit:literal, $rotation:literal) => {
        concat!(
            $crate::queue::live_shards_cte!(),
            ",
served (shards) AS MATERIALIZED (
    SELECT CASE WHEN cardinality((SELECT ", $shards, ")) > 0 THEN ", $shards, "
                ELSE ARRAY(SELECT shard FROM live WHERE shard IS NOT NULL) END
      FROM set_config('clipbase.is_claiming', 'yes', true)
),
picked AS MATERIALIZED (
    SELECT next.id
      FROM served
     -- Pairs in order: rank by rank, and within a rank shard by shard from the rotation on.
     CROSS JOIN LATERAL generate_series(0, 3 * cardinality(served.shards) - 1) AS pair (n)
     CROSS JOIN LATERAL (
        SELECT job.id
          FROM public.jobs AS job
         WHERE ", $crate::queue::in_queue!(), "
           AND job.shard = served.shards[1 + ((pair.n + ", $rotation, ") % cardinality(served.shards))::int]
           AND job.priority_rank = (pair.n / cardinality(served.shards))::smallint
           AND job.run_at <= now()
         ORDER BY job.run_at, job.id
         -- 1 while this is planned, none while it runs: the plan is made for reading the first entry of
         -- the index, whatever the statistics say. Without it (or with the caller's limit here) there are
         -- statistics under which every claim fetches and sorts the whole queue.
         LIMIT CASE WHEN coalesce(current_setting('clipbase.is_claiming', true), '') <> 'yes' THEN 1 END
           FOR NO KEY UPDATE SKIP LOCKED
      ) AS next
     LIMIT (SELECT ", $limit, ")
)"
        )
    };
}
pub(crate) use picked_ctes;
