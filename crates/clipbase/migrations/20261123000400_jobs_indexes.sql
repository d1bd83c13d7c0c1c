-- The seed's two indexes keep their names. Nothing that a heartbeat or a progress report writes is in any
-- index, so that those updates stay heap-only (HOT).

CREATE INDEX idx_jobs_status_created_at ON public.jobs (status, created_at, id);

-- Partial: a row that never expires is never in it, which saves a write for most of a job's life.
CREATE INDEX idx_jobs_expires_at ON public.jobs (expires_at) WHERE expires_at IS NOT NULL;

-- A job without a source is not in the queue yet.
CREATE INDEX idx_jobs_claim ON public.jobs (shard, priority_rank, run_at, id)
    WHERE status = 'queued' AND (source_key IS NOT NULL OR source_url IS NOT NULL);

-- 75 %: room for a heartbeat's new row version on the same page. Vacuum early: a queue's dead rows lie
-- at the head of its index, where every claim walks over them.
ALTER TABLE public.jobs SET (
    fillfactor = 75,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.02
);

COMMENT ON INDEX public.idx_jobs_status_created_at IS 'Lists and counts by status; keyset pages without a sort; leases to reap.';
COMMENT ON INDEX public.idx_jobs_expires_at IS 'Rows past their time.';
COMMENT ON INDEX public.idx_jobs_claim IS 'The queue in the order in which it is claimed.';
