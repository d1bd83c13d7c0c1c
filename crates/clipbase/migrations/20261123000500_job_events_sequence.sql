-- Events are numbered 1..n without gaps within their job; the number is the key. A row of the seed gets its
-- number by (ts, id). The id stays, but without an index of its own: nothing looks an event up by it.

ALTER TABLE public.job_events DROP CONSTRAINT job_events_pkey, ADD COLUMN seq integer;
DROP INDEX IF EXISTS public.idx_job_events_job_id_ts;

UPDATE public.job_events AS event
   SET seq = numbered.seq
  FROM (SELECT id, row_number() OVER (PARTITION BY job_id ORDER BY ts, id) AS seq FROM public.job_events)
       AS numbered
 WHERE numbered.id = event.id;

-- An adopted job's history starts with a snapshot: from there on, folding the events gives the row.
INSERT INTO public.job_events (job_id, seq, type, data)
SELECT job.id, job.event_seq, 'adopted',
       jsonb_build_object(
           'by', 'migration',
           'set', jsonb_build_object(
               'status', job.status, 'lease', job.lease, 'attempts', job.attempts,
               'worker_id', job.worker_id, 'error_code', job.error_code,
               'error_message', left(job.error_message, 2000),
               'result_video_key', job.result_video_key, 'result_srt_key', job.result_srt_key,
               'cancel_requested', false))
       || jsonb_strip_nulls(jsonb_build_object(
           'seed_priority', adoption.priority, 'seed_progress', adoption.progress))
  FROM public.jobs AS job
  JOIN public.clipbase_adoption AS adoption ON adoption.job_id = job.id;

ALTER TABLE public.job_events ALTER COLUMN seq SET NOT NULL;
ALTER TABLE public.job_events ADD CONSTRAINT job_events_pkey PRIMARY KEY (job_id, seq);
CREATE INDEX idx_job_events_job_id_ts ON public.job_events (job_id, ts);

DROP TABLE public.clipbase_adoption;

ALTER TABLE public.job_events
    ADD CONSTRAINT job_events_data_bounded CHECK (data IS NULL OR pg_column_size(data) <= 32768) NOT VALID;

ALTER TABLE public.job_events SET (
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
);

COMMENT ON TABLE  public.job_events IS 'What happened to each job, in order, append-only; goes with its job.';
COMMENT ON COLUMN public.job_events.id IS 'Kept from the seed; the key is (job_id, seq).';
COMMENT ON COLUMN public.job_events.job_id IS 'The job.';
COMMENT ON COLUMN public.job_events.seq IS '1..n within the job, without gaps, in commit order.';
COMMENT ON COLUMN public.job_events.ts IS 'When the writing transaction began.';
COMMENT ON COLUMN public.job_events.type IS 'What happened: created, claimed, finished, failed, requeued, released, canceled, retried, updated, or a caller''s word.';
COMMENT ON COLUMN public.job_events.data IS 'The caller''s data; set: what it changed in the row, from: the state before, by: who.';
COMMENT ON INDEX  public.idx_job_events_job_id_ts IS 'The seed''s order of a job''s events, for its clients.';
