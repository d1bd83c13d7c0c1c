//! The one piece of SQL that moves a job along an edge, save for the claim, which is all about speed.
//!
//! A statement that moves jobs puts its own `input` in front and reads `input`, `found` and `moved` at its end;
//! in between stands `move_ctes!`. `found` locks the rows in the input's order (callers sort by id) and
//! decides where each goes; `moved` applies the effects of that edge; `recorded` writes its event.
//!
//! Columns of `input`: `id uuid, ask text, lease int, worker uuid, code text, message text, video text,
//! srt text, word text, data jsonb`. What can be asked for:
//!
//! | ask | from | to |
//! |---|---|---|
//! | `finish` | processing | done |
//! | `fail` | processing | failed |
//! | `retry` | processing | queued; failed when out of attempts or canceled |
//! | `release` | processing | queued, the attempt given back; at most [`RELEASES_MAX`] times |
//! | `reap` | processing | queued; failed when out of attempts or canceled |
//! | `become queued` | processing; failed, when unfenced | queued; failed when canceled |
//! | `become failed` | processing; queued, when unfenced | failed |
//! | `become done` | processing | done |
//! | `become processing` | queued | processing |
//! | `cancel` | queued | failed; a processing job is marked |
//! | `reopen` | failed | queued |

/// How often an attempt is given back. The next release counts as a failed attempt, so that a job which
/// no worker can keep does not go round for ever.
pub const RELEASES_MAX: i32 = 20;

/// Whether a release still gives its attempt back. The number is [`RELEASES_MAX`]: a test releases a job that
/// often and once more.
macro_rules! gives_back {
    () => {
        "input.ask = 'release' AND (
               SELECT count(*) FROM public.job_events AS event
                WHERE event.job_id = input.id AND event.type = 'released' AND event.data ? 'set'
           ) < 20"
    };
}
pub(crate) use gives_back;

/// Makes the CTEs `found`, `moved` and `recorded`. The arguments are SQL expressions: who moves, whether the
/// fence is left out (an operator), retention in seconds (of the job done or failed, and of its source), and
/// the backoff's base and cap in seconds.
macro_rules! move_ctes {
    (by: $by:literal, unfenced: $unfenced:literal, keep_done: $keep_done:literal,
     keep_failed: $keep_failed:literal, keep_source: $keep_source:literal, backoff_base: $base:literal, backoff_cap: $cap:literal) => {
        concat!(
            "
found AS MATERIALIZED (
    SELECT input.*, job.status, job.attempts, job.lease AS held_lease, job.worker_id AS held_worker,
           job.result_video_key AS held_video, job.result_srt_key AS held_srt,
           job.cancel_requested_at IS NOT NULL AS canceled,
           job.source_deleted_at IS NOT NULL AS is_without_source,
           -- A release that gives its attempt back, until it did so too often.
           ", $crate::transitions::gives_back!(), " AS refunded,
           CASE job.status
           WHEN 'processing' THEN
               -- Coalesced: a fence that compares with NULL, for want of a lease or of a worker, holds too.
               CASE WHEN NOT (", $unfenced, " OR input.ask = 'cancel'
                              OR coalesce(job.lease = input.lease AND job.worker_id = input.worker, false))
                    THEN NULL
                    WHEN input.ask IN ('finish', 'become done') THEN 'done'
                    WHEN input.ask IN ('fail', 'become failed') THEN 'failed'
                    WHEN input.ask IN ('retry', 'release', 'reap', 'become queued') THEN
                        CASE WHEN job.cancel_requested_at IS NOT NULL THEN 'failed'
                             WHEN input.ask = 'become queued' THEN 'queued'
                             WHEN job.attempts < job.max_attempts THEN 'queued'
                             WHEN ", $crate::transitions::gives_back!(), " THEN 'queued'
                             ELSE 'failed' END
                    WHEN input.ask = 'cancel' AND job.cancel_requested_at IS NULL THEN 'processing'
               END
           WHEN 'queued' THEN
               CASE WHEN input.ask = 'cancel' OR (input.ask = 'become failed' AND ", $unfenced, ") THEN 'failed'
                    WHEN input.ask = 'become processing' THEN 'processing' END
           WHEN 'failed' THEN
               -- Without its source there is nothing to try again.
               CASE WHEN job.source_deleted_at IS NULL
                         AND (input.ask = 'reopen' OR (input.ask = 'become queued' AND ", $unfenced, "))
                    THEN 'queued' END
           END AS next
      FROM input
     CROSS JOIN LATERAL (
        SELECT * FROM public.jobs WHERE jobs.id = input.id FOR NO KEY UPDATE
      ) AS job
),
verdict AS MATERIALIZED (
    SELECT found.id, found.ask, found.status, found.next, found.refunded, found.worker, found.video, found.srt,
           found.data,
           CASE WHEN found.next = 'failed' THEN coalesce(
               CASE WHEN found.canceled AND found.ask IN ('retry', 'release', 'reap', 'become queued')
                    THEN 'CANCELED' END,
               found.code,
               CASE WHEN found.status = 'queued' OR found.canceled THEN 'CANCELED'
                    WHEN found.ask = 'reap' THEN 'WORKER_LOST'
                    WHEN found.ask = 'release' THEN 'RELEASE_LIMIT'
                    ELSE 'UNSPECIFIED' END) END AS code,
           CASE WHEN found.next = 'failed' THEN coalesce(
               CASE WHEN found.canceled AND found.ask IN ('retry', 'release', 'reap', 'become queued')
                    THEN 'canceled on request' END,
               found.message,
               CASE WHEN found.status = 'queued' THEN 'canceled before it was claimed'
                    WHEN found.ask = 'reap' THEN 'the worker was lost and no attempt is left' END) END AS message,
           coalesce(found.word, CASE
               WHEN found.next = 'processing' AND found.status = 'processing' THEN 'cancel_requested'
               WHEN found.next = 'processing' THEN 'claimed'
               WHEN found.next = 'done' THEN 'finished'
               WHEN found.next = 'queued' AND found.status = 'failed' THEN 'retried'
               WHEN found.next = 'queued' AND found.refunded THEN 'released'
               WHEN found.next = 'queued' THEN 'requeued'
               -- A failure with a code of its own is one, though a cancel had been asked for.
               WHEN found.status = 'queued' THEN 'canceled'
               WHEN found.canceled AND (found.code IS NULL OR found.ask NOT IN ('fail', 'become failed'))
               THEN 'canceled'
               ELSE 'failed' END) AS word,
           -- Why a job goes back: kept in its event, since the row says so only when it has failed.
           jsonb_strip_nulls(jsonb_build_object(
               'cause', CASE WHEN found.status = 'processing' AND found.next IN ('queued', 'failed')
                             THEN coalesce(found.code, CASE WHEN found.ask = 'reap' THEN 'WORKER_LOST' END) END,
               'reason', CASE WHEN found.next = 'queued' THEN found.message END)) AS why
      FROM found
     WHERE found.next IS NOT NULL
),
moved AS (
    UPDATE public.jobs AS job
       SET status = verdict.next::public.job_status,
           event_seq = job.event_seq + 1,
           updated_at = now(),
           lease = CASE WHEN verdict.status = 'queued' AND verdict.next = 'processing'
                        THEN job.lease + 1 ELSE job.lease END,
           attempts = CASE WHEN verdict.status = 'queued' AND verdict.next = 'processing' THEN job.attempts + 1
                           WHEN verdict.status = 'failed' THEN 0
                           WHEN verdict.refunded AND verdict.next = 'queued' THEN job.attempts - 1
                           ELSE job.attempts END,
           worker_id = CASE WHEN verdict.next = 'queued' THEN NULL
                            WHEN verdict.status = 'queued' AND verdict.next = 'processing' THEN verdict.worker
                            ELSE job.worker_id END,
           lease_expires_at = CASE WHEN verdict.next = 'processing' THEN
                                  CASE WHEN verdict.status = 'queued' THEN now() + interval '60 seconds'
                                       ELSE job.lease_expires_at END END,
           last_heartbeat_at = CASE WHEN verdict.status = 'queued' AND verdict.next = 'processing' THEN now()
                                    ELSE job.last_heartbeat_at END,
           started_at = CASE WHEN verdict.status = 'queued' AND verdict.next = 'processing' THEN now()
                             ELSE job.started_at END,
           progress = CASE WHEN verdict.next = 'done' THEN 100
                           WHEN verdict.next = 'queued' OR verdict.status = 'queued' THEN 0
                           ELSE job.progress END,
           run_at = CASE WHEN verdict.next <> 'queued' THEN job.run_at
                         WHEN verdict.status = 'failed' OR verdict.refunded OR verdict.ask = 'become queued'
                         THEN now()
                         -- Full jitter: anywhere between at once and the exponential bound.
                         ELSE now() + make_interval(secs => random() * least(", $cap, ", ", $base,
            " * 2 ^ greatest(job.attempts - 1, 0))) END,
           result_video_key = CASE WHEN verdict.next = 'done' THEN verdict.video
                                   WHEN verdict.status = 'failed' THEN NULL
                                   ELSE job.result_video_key END,
           result_srt_key = CASE WHEN verdict.next = 'done' THEN verdict.srt
                                 WHEN verdict.status = 'failed' THEN NULL
                                 ELSE job.result_srt_key END,
           error_code = CASE WHEN verdict.next = 'failed' THEN verdict.code
                             WHEN verdict.status = 'failed' THEN NULL ELSE job.error_code END,
           error_message = CASE WHEN verdict.next = 'failed' THEN verdict.message
                                WHEN verdict.status = 'failed' THEN NULL ELSE job.error_message END,
           cancel_requested_at = CASE WHEN verdict.status = 'processing' AND verdict.next = 'processing' THEN now()
                                      WHEN verdict.status = 'failed' THEN NULL
                                      ELSE job.cancel_requested_at END,
           finished_at = CASE WHEN verdict.next IN ('done', 'failed') THEN now() END,
           expires_at = CASE
               WHEN verdict.next = 'done' THEN coalesce(job.expires_at, now() + make_interval(secs => ",
            $keep_done, "))
               WHEN verdict.next = 'failed' THEN coalesce(job.expires_at, now() + make_interval(secs => ",
            $keep_failed, "))
               -- A retry takes back the expiry that the failure gave, not one that a caller chose.
               WHEN verdict.status = 'failed' AND job.expires_at = job.finished_at + make_interval(secs => ",
            $keep_failed, ") THEN NULL
               ELSE job.expires_at END,
           source_expires_at = CASE
               -- Only a source in the job's own folder is the job's to lose.
               WHEN verdict.next IN ('done', 'failed') AND ", $keep_source, " IS NOT NULL
                    AND job.source_deleted_at IS NULL AND starts_with(job.source_key, 'sources/' || job.id || '/')
               THEN now() + make_interval(secs => ", $keep_source, ")
               WHEN verdict.status = 'failed' THEN NULL
               ELSE job.source_expires_at END
      FROM verdict
     WHERE job.id = verdict.id
       -- Keeps the plan on the primary key however few rows the statistics promise.
       AND job.id = ANY (ARRAY(SELECT id FROM verdict))
    RETURNING job.*, verdict.status AS was, verdict.word, verdict.data AS event_data, verdict.why
),
recorded AS (
    INSERT INTO public.job_events (job_id, seq, type, data)
    SELECT id, event_seq, word,
           coalesce(event_data, '{}'::jsonb) || why || jsonb_build_object('by', ", $by, ", 'from', was, 'set',
               CASE
               WHEN status = 'done' THEN jsonb_build_object(
                   'status', status, 'result_video_key', result_video_key, 'result_srt_key', result_srt_key)
               WHEN status = 'failed' THEN jsonb_build_object(
                   'status', status, 'error_code', error_code, 'error_message', error_message)
               WHEN status = 'processing' AND was = 'processing' THEN '{\"cancel_requested\": true}'::jsonb
               WHEN status = 'processing' THEN jsonb_build_object(
                   'status', status, 'lease', lease, 'attempts', attempts, 'worker_id', worker_id)
               WHEN was = 'processing' THEN jsonb_build_object(
                   'status', status, 'attempts', attempts, 'worker_id', NULL)
               ELSE jsonb_build_object(
                   'status', status, 'attempts', attempts, 'worker_id', NULL, 'error_code', NULL,
                   'error_message', NULL, 'result_video_key', NULL, 'result_srt_key', NULL,
                   'cancel_requested', false)
               END)
      FROM moved
)"
        )
    };
}
pub(crate) use move_ctes;
