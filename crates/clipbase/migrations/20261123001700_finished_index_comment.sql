-- The index itself is made without a transaction, in a file of its own.

COMMENT ON INDEX public.idx_jobs_status_finished_at IS 'How many jobs ended in each of the last minutes.';
