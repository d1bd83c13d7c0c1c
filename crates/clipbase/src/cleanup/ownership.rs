//! Whose an object is: the one place where the database is asked.
//!
//! A job owns its two folders and nothing else, so the job in an object's key is the only one to ask. What is
//! asked here before an object is removed stays true while it is removed: nothing but a live lease can make a
//! job name a result, and a job that is created names no source that is on its way out.

/// How an object stands with its job, given the alias `job` of the job's row: `named` by the row, `live`: the
/// lease that holds the job may be writing it, `awaited`: it may be written or named yet, or null: unowned.
macro_rules! standing {
    ($key:literal) => {
        concat!(
            "CASE
               WHEN ", $key, " = job.source_key AND job.source_deleted_at IS NULL THEN 'named'
               WHEN ", $key, " IN (job.result_video_key, job.result_srt_key) THEN 'named'
               WHEN ", $key, " LIKE 'sources/%' THEN
                   -- A client may name its source after the upload.
                   CASE WHEN job.source_key IS NULL AND job.source_type = 'upload' THEN 'awaited' END
               WHEN ", $key, " LIKE 'results/%' AND job.status <> 'done' THEN
                   CASE WHEN ", $crate::cleanup::ownership::lease_of!($key), " > job.lease THEN 'awaited'
                        WHEN job.status <> 'processing' THEN NULL
                        WHEN ", $crate::cleanup::ownership::lease_of!($key), " = job.lease THEN 'live'
                        -- A worker of the seed has no id, and writes the first lease's keys under every lease.
                        WHEN ", $crate::cleanup::ownership::lease_of!($key), " = 1 AND job.worker_id IS NULL
                        THEN 'live' END
               END"
        )
    };
}
pub(super) use standing;

/// The lease in a result's key; the first one's keys do not say it.
macro_rules! lease_of {
    ($key:literal) => {
        concat!(
            "coalesce(substring(",
            $key,
            " FROM '^results/[^/]+/([0-9]{1,10})/')::int8, 1)"
        )
    };
}
pub(super) use lease_of;
