-- What a job gains over the seed: its fence, its backoff, its exact range, its order in the queue.
-- One table rewrite (the stored generated column); rows of the seed are adopted in the same statements.

ALTER TABLE public.jobs
    ADD COLUMN lease               integer NOT NULL DEFAULT 0,
    ADD COLUMN lease_expires_at    timestamptz,
    ADD COLUMN worker_id           uuid,
    ADD COLUMN run_at              timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN max_attempts        integer NOT NULL DEFAULT 3,
    ADD COLUMN cancel_requested_at timestamptz,
    ADD COLUMN started_at          timestamptz,
    ADD COLUMN finished_at         timestamptz,
    ADD COLUMN event_seq           integer NOT NULL DEFAULT 0,
    ADD COLUMN start_ms            bigint,
    ADD COLUMN end_ms              bigint;

-- Rows that the seed's client left behind. The words and ranges that are lost here are kept in each
-- job's `adopted` event, which a later migration writes from this table.
CREATE TABLE public.clipbase_adoption (
    job_id    uuid NOT NULL,
    priority  varchar(16),
    progress  integer,
    event_seq integer NOT NULL
);
ALTER TABLE public.clipbase_adoption ENABLE ROW LEVEL SECURITY;

INSERT INTO public.clipbase_adoption (job_id, priority, progress, event_seq)
SELECT job.id,
       CASE WHEN job.priority NOT IN ('high', 'normal', 'low') THEN job.priority END,
       CASE WHEN job.progress NOT BETWEEN 0 AND 100 THEN job.progress END,
       coalesce(event.count, 0) + 1
  FROM public.jobs AS job
  LEFT JOIN (SELECT job_id, count(*) AS count FROM public.job_events GROUP BY job_id) AS event
         ON event.job_id = job.id;

-- Made anew by a later migration, once their rows are in place.
DROP INDEX IF EXISTS public.idx_jobs_status_created_at;
DROP INDEX IF EXISTS public.idx_jobs_expires_at;

UPDATE public.jobs
   SET event_seq        = adoption.event_seq,
       priority         = CASE WHEN jobs.priority IN ('high', 'normal', 'low') THEN jobs.priority ELSE 'normal' END,
       progress         = least(greatest(jobs.progress, 0), 100),
       run_at           = created_at,
       -- Whatever a worker may have touched had one lease: its results lie under the seed's keys, go with the
       -- job when it is deleted, and are not written over by a later attempt.
       lease            = CASE WHEN status <> 'queued' OR attempts > 0 OR last_heartbeat_at IS NOT NULL
                                    OR result_video_key IS NOT NULL OR result_srt_key IS NOT NULL
                               THEN 1 ELSE 0 END,
       attempts         = CASE WHEN status = 'processing' THEN greatest(attempts, 1)
                               ELSE greatest(attempts, 0) END,
       lease_expires_at = CASE WHEN status = 'processing' THEN now() + interval '60 seconds' END,
       started_at       = CASE WHEN status = 'processing' THEN coalesce(last_heartbeat_at, updated_at) END,
       finished_at      = CASE WHEN status IN ('done', 'failed') THEN updated_at END,
       error_code       = CASE WHEN status = 'failed' THEN coalesce(error_code, 'LEGACY_UNKNOWN')
                               ELSE error_code END
  FROM public.clipbase_adoption AS adoption
 WHERE adoption.job_id = jobs.id;

ALTER TABLE public.jobs
    ADD COLUMN priority_rank smallint NOT NULL
        GENERATED ALWAYS AS (CASE priority WHEN 'high' THEN 0 WHEN 'normal' THEN 1 ELSE 2 END) STORED;

COMMENT ON TABLE  public.jobs IS 'One row a clip job. Wide things live in job_events.';
COMMENT ON COLUMN public.jobs.id IS 'UUIDv7 made by the client; the default is for rows written by hand.';
COMMENT ON COLUMN public.jobs.status IS 'Moves only along the edges of the state machine; a trigger refuses the rest.';
COMMENT ON COLUMN public.jobs.priority IS 'high, normal or low.';
COMMENT ON COLUMN public.jobs.shard IS 'Groups jobs for workers that serve only some shards.';
COMMENT ON COLUMN public.jobs.source_type IS 'upload or youtube.';
COMMENT ON COLUMN public.jobs.source_key IS 'Object key of an upload: sources/{id}/source.{ext}.';
COMMENT ON COLUMN public.jobs.source_url IS 'Address of a youtube source.';
COMMENT ON COLUMN public.jobs.start_sec IS 'Start of the clip in whole seconds, rounded down; start_ms is exact.';
COMMENT ON COLUMN public.jobs.end_sec IS 'End of the clip in whole seconds, rounded up; end_ms is exact.';
COMMENT ON COLUMN public.jobs.with_subtitles IS 'Whether a subtitle file is wanted beside the clip.';
COMMENT ON COLUMN public.jobs.burn_subtitles IS 'Whether the subtitles are drawn into the picture.';
COMMENT ON COLUMN public.jobs.subtitle_lang IS 'Language of the text track, or auto.';
COMMENT ON COLUMN public.jobs.progress IS 'Percent done of the current attempt, 0 to 100. Not an event.';
COMMENT ON COLUMN public.jobs.attempts IS 'How often the job was claimed since it was created or retried, less its releases.';
COMMENT ON COLUMN public.jobs.last_heartbeat_at IS 'When the worker was last heard of. Not an event.';
COMMENT ON COLUMN public.jobs.result_video_key IS 'Object key of the clip: the only one that a reader may follow.';
COMMENT ON COLUMN public.jobs.result_srt_key IS 'Object key of the subtitles, when they were asked for.';
COMMENT ON COLUMN public.jobs.error_code IS 'Why the job failed, as a stable code.';
COMMENT ON COLUMN public.jobs.error_message IS 'Why, in a sentence.';
COMMENT ON COLUMN public.jobs.created_at IS 'When the job was created.';
COMMENT ON COLUMN public.jobs.updated_at IS 'When the row was last written.';
COMMENT ON COLUMN public.jobs.expires_at IS 'When the job and its objects may be removed; null keeps them.';
COMMENT ON COLUMN public.jobs.lease IS 'Fencing token: one higher at every claim, never lowered.';
COMMENT ON COLUMN public.jobs.lease_expires_at IS 'When the lease may be reaped, unless last_heartbeat_at is fresher.';
COMMENT ON COLUMN public.jobs.worker_id IS 'The worker process that holds or last held the lease.';
COMMENT ON COLUMN public.jobs.run_at IS 'Not claimed before this time.';
COMMENT ON COLUMN public.jobs.max_attempts IS 'After so many attempts a failure is final.';
COMMENT ON COLUMN public.jobs.cancel_requested_at IS 'When a cancel was asked for; it wins over retry, release and reap.';
COMMENT ON COLUMN public.jobs.started_at IS 'When the current or last attempt was claimed.';
COMMENT ON COLUMN public.jobs.finished_at IS 'When the job became done or failed.';
COMMENT ON COLUMN public.jobs.event_seq IS 'Number of the job''s newest event.';
COMMENT ON COLUMN public.jobs.start_ms IS 'Exact start in milliseconds; null when only seconds were given.';
COMMENT ON COLUMN public.jobs.end_ms IS 'Exact end in milliseconds; null when only seconds were given.';
COMMENT ON COLUMN public.jobs.priority_rank IS '0 high, 1 normal, 2 low: sorts as meant, where the words would not.';
