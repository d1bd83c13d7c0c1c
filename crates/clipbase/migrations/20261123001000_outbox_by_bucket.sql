-- The outbox at scale: one bucket's keys are taken at a time, since one call of the storage removes objects of
-- one bucket; and links through which an object may still arrive are remembered until they end.

ALTER TABLE public.storage_deletions
    ADD COLUMN writable_until timestamptz,
    ADD COLUMN bucket text NOT NULL GENERATED ALWAYS AS (
        CASE split_part(object_key, '/', 1) WHEN 'sources' THEN 'sources' WHEN 'results' THEN 'results' ELSE 'other' END
    ) STORED,
    ALTER COLUMN job_id DROP NOT NULL,
    DROP CONSTRAINT storage_deletions_reason_known,
    ADD CONSTRAINT storage_deletions_reason_known
        CHECK (reason IN ('job_deleted', 'upload_unused', 'source_expired', 'unowned'));

CREATE INDEX idx_storage_deletions_bucket_next_attempt_at
    ON public.storage_deletions (bucket, next_attempt_at);
DROP INDEX public.idx_storage_deletions_next_attempt_at;

COMMENT ON COLUMN public.storage_deletions.job_id IS 'The job that owned it; no foreign key, the job may be gone. Null for an object of no job.';
COMMENT ON COLUMN public.storage_deletions.reason IS 'job_deleted; upload_unused: an upload announced before its job exists; source_expired: its job is kept; unowned: found by a reconciliation.';
COMMENT ON COLUMN public.storage_deletions.writable_until IS 'A link with which the object can be stored ends then: not removed before, whoever owns it.';
COMMENT ON COLUMN public.storage_deletions.bucket IS 'The bucket of the key; other for a key of neither, which nobody can remove.';
COMMENT ON INDEX  public.idx_storage_deletions_bucket_next_attempt_at IS 'What is due in a bucket, longest waiting first.';

-- As before, and a source that a link can still store waits for the link's end.
CREATE OR REPLACE FUNCTION public.clipbase_jobs_to_outbox() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    INSERT INTO public.storage_deletions (object_key, job_id, reason, next_attempt_at)
    SELECT object.key, gone.id, 'job_deleted',
           -- A worker of the seed's shows only by its heartbeat that it lives.
           greatest(now(), gone.lease_expires_at,
                    CASE WHEN gone.status = 'processing' THEN gone.last_heartbeat_at + interval '60 seconds' END)
      FROM gone
     CROSS JOIN LATERAL (
        SELECT gone.source_key AS key
         WHERE gone.source_key ~ ('^sources/' || gone.id || '/source\.[A-Za-z0-9]{1,16}$')
        UNION
        SELECT named.key FROM (VALUES (gone.result_video_key), (gone.result_srt_key)) AS named (key)
         WHERE named.key ~ ('^results/' || gone.id || '/([1-9][0-9]{0,9}/)?clip\.(mp4|srt)$')
        UNION
        SELECT 'results/' || gone.id || CASE WHEN lease > 1 THEN '/' || lease ELSE '' END || file
          FROM generate_series(1, gone.lease) AS lease
         CROSS JOIN (VALUES ('/clip.mp4'), ('/clip.srt')) AS result (file)
      ) AS object
    ON CONFLICT (object_key) DO UPDATE
       SET reason = 'job_deleted',
           next_attempt_at = greatest(EXCLUDED.next_attempt_at, storage_deletions.writable_until);
    RETURN NULL;
END
$$;
