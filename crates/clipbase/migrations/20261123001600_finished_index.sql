-- How many jobs ended in each of the last minutes. It has an entry only once a job has ended.

CREATE INDEX idx_jobs_status_finished_at ON public.jobs (status, finished_at) WHERE finished_at IS NOT NULL;

COMMENT ON INDEX public.idx_jobs_status_finished_at IS 'How many jobs ended in each of the last minutes.';
