-- clipbase: no-transaction
CREATE INDEX CONCURRENTLY idx_jobs_status_finished_at ON public.jobs (status, finished_at) WHERE finished_at IS NOT NULL;
