-- A source may go before its job: the row and its results stay, the row says when the source went, and the job
-- cannot be retried.

ALTER TABLE public.jobs
    ADD COLUMN source_expires_at timestamptz,
    ADD COLUMN source_deleted_at timestamptz;

-- Empty where no retention for sources is set, and then never written.
CREATE INDEX idx_jobs_source_expires_at ON public.jobs (source_expires_at) WHERE source_expires_at IS NOT NULL;

COMMENT ON COLUMN public.jobs.source_expires_at IS 'When the ended job''s source may be removed, while the job stays; null keeps it.';
COMMENT ON COLUMN public.jobs.source_deleted_at IS 'When the source was given to the clean-up. The job cannot be retried from then on.';
COMMENT ON INDEX  public.idx_jobs_source_expires_at IS 'Sources past their time.';

CREATE OR REPLACE FUNCTION public.clipbase_changes(before public.jobs, after public.jobs) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT coalesce(jsonb_object_agg(field.name, field.new_value), '{}'::jsonb)
      FROM (VALUES
        ('status',           to_jsonb(before.status),           to_jsonb(after.status)),
        ('lease',            to_jsonb(before.lease),            to_jsonb(after.lease)),
        ('attempts',         to_jsonb(before.attempts),         to_jsonb(after.attempts)),
        ('worker_id',        to_jsonb(before.worker_id),        to_jsonb(after.worker_id)),
        ('error_code',       to_jsonb(before.error_code),       to_jsonb(after.error_code)),
        ('error_message',    to_jsonb(left(before.error_message, 2000)), to_jsonb(left(after.error_message, 2000))),
        ('result_video_key', to_jsonb(before.result_video_key), to_jsonb(after.result_video_key)),
        ('result_srt_key',   to_jsonb(before.result_srt_key),   to_jsonb(after.result_srt_key)),
        ('cancel_requested', to_jsonb(before.cancel_requested_at IS NOT NULL), to_jsonb(after.cancel_requested_at IS NOT NULL)),
        ('source_deleted',   to_jsonb(before.source_deleted_at IS NOT NULL),   to_jsonb(after.source_deleted_at IS NOT NULL))
      ) AS field (name, old_value, new_value)
     WHERE field.old_value IS DISTINCT FROM field.new_value
$$;

-- As before; a job whose source is gone does not go back into the queue, and one that goes back keeps its source.
CREATE OR REPLACE FUNCTION public.clipbase_jobs_guard_status() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
    assumed  boolean := false;
    verb     text;
BEGIN
    IF NOT ((OLD.status = 'queued' AND NEW.status IN ('processing', 'failed'))
         OR (OLD.status = 'processing' AND NEW.status IN ('done', 'failed', 'queued'))
         OR (OLD.status = 'failed' AND NEW.status = 'queued')) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'CB002',
            MESSAGE = format('a job cannot go from %s to %s', OLD.status, NEW.status),
            DETAIL = 'The edges are queued to processing or failed; processing to done, failed or queued; failed to queued. done is final.',
            HINT = 'read the job again: somebody else may have moved it';
    END IF;
    IF OLD.status = 'failed' AND NEW.status = 'queued' AND NEW.source_deleted_at IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'CB002',
            MESSAGE = 'a job whose source was removed cannot be retried',
            HINT = 'upload the source again and make a new job';
    END IF;
    IF NEW.event_seq <> OLD.event_seq THEN
        IF NEW.status = 'processing' AND NEW.lease = OLD.lease THEN
            RAISE EXCEPTION USING
                ERRCODE = 'CB002', MESSAGE = 'a claim raises the lease by one',
                HINT = 'set lease = lease + 1 in the same UPDATE';
        END IF;
        RETURN NEW;
    END IF;

    -- A requested cancel wins over every way back into the queue.
    IF OLD.status = 'processing' AND NEW.status = 'queued' AND NEW.cancel_requested_at IS NOT NULL THEN
        NEW.status := 'failed';
        NEW.error_code := 'CANCELED';
        NEW.error_message := 'canceled on request';
    END IF;

    CASE NEW.status
    WHEN 'processing' THEN
        verb := 'claimed';
        NEW.lease := OLD.lease + 1;
        NEW.attempts := OLD.attempts + 1;
        NEW.progress := CASE WHEN NEW.progress IS DISTINCT FROM OLD.progress THEN NEW.progress ELSE 0 END;
        NEW.started_at := now();
        NEW.last_heartbeat_at := now();
        NEW.lease_expires_at := CASE WHEN NEW.lease_expires_at > now() THEN NEW.lease_expires_at
                                     ELSE now() + interval '60 seconds' END;
    WHEN 'done' THEN
        verb := 'finished';
        -- The seed's worker stores its clip under the seed's key; one that says nothing else means that.
        assumed := NEW.result_video_key IS NULL;
        NEW.result_video_key := coalesce(NEW.result_video_key, format('results/%s/clip.mp4', NEW.id));
        NEW.progress := 100;
        NEW.finished_at := now();
        NEW.lease_expires_at := NULL;
    WHEN 'failed' THEN
        verb := CASE WHEN OLD.status = 'queued' OR NEW.cancel_requested_at IS NOT NULL
                     THEN 'canceled' ELSE 'failed' END;
        NEW.error_code := coalesce(NEW.error_code,
                                   CASE WHEN verb = 'canceled' THEN 'CANCELED' ELSE 'UNSPECIFIED' END);
        NEW.finished_at := now();
        NEW.lease_expires_at := NULL;
    WHEN 'queued' THEN
        verb := CASE WHEN OLD.status = 'failed' THEN 'retried' ELSE 'requeued' END;
        NEW.worker_id := NULL;
        NEW.lease_expires_at := NULL;
        NEW.progress := 0;
        NEW.run_at := CASE WHEN NEW.run_at IS DISTINCT FROM OLD.run_at THEN NEW.run_at ELSE now() END;
        IF OLD.status = 'failed' THEN
            NEW.attempts := 0;
            NEW.error_code := NULL;
            NEW.error_message := NULL;
            NEW.cancel_requested_at := NULL;
            NEW.result_video_key := NULL;
            NEW.result_srt_key := NULL;
            NEW.finished_at := NULL;
            NEW.source_expires_at := NULL;
        END IF;
    END CASE;

    NEW.updated_at := now();
    NEW.event_seq := OLD.event_seq + 1;
    INSERT INTO public.job_events (job_id, seq, type, data)
    VALUES (NEW.id, NEW.event_seq, verb,
            jsonb_build_object('by', 'sql', 'from', OLD.status, 'set', public.clipbase_changes(OLD, NEW))
            || CASE WHEN assumed THEN '{"result_video_key": "assumed"}'::jsonb ELSE '{}'::jsonb END);
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER clipbase_20_guard_status BEFORE UPDATE OF status ON public.jobs
FOR EACH ROW
WHEN (OLD.status <> NEW.status AND NOT (
    NEW.event_seq = OLD.event_seq + 1 AND (
        (OLD.status = 'queued' AND NEW.status = 'processing' AND NEW.lease = OLD.lease + 1)
     OR (OLD.status = 'processing' AND NEW.status IN ('done', 'failed', 'queued'))
     OR (OLD.status = 'queued' AND NEW.status = 'failed')
     OR (OLD.status = 'failed' AND NEW.status = 'queued' AND NEW.source_deleted_at IS NULL))))
EXECUTE FUNCTION public.clipbase_jobs_guard_status();

-- A client that knows nothing of removed sources names another one: then the job has one again.
CREATE FUNCTION public.clipbase_jobs_name_source() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    NEW.source_deleted_at := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER clipbase_15_name_source BEFORE UPDATE OF source_key ON public.jobs
FOR EACH ROW
WHEN (OLD.source_key IS DISTINCT FROM NEW.source_key AND NEW.source_key IS NOT NULL
      AND OLD.source_deleted_at = NEW.source_deleted_at)
EXECUTE FUNCTION public.clipbase_jobs_name_source();

CREATE OR REPLACE TRIGGER clipbase_30_record_update
BEFORE UPDATE OF lease, attempts, worker_id, error_code, error_message, result_video_key, result_srt_key,
                 cancel_requested_at, source_key, source_deleted_at ON public.jobs
FOR EACH ROW
WHEN (OLD.status = NEW.status AND OLD.event_seq = NEW.event_seq)
EXECUTE FUNCTION public.clipbase_jobs_record_update();

COMMENT ON FUNCTION public.clipbase_jobs_name_source() IS 'A job that is given another source has one again.';

DO $$
DECLARE
    roles text;
BEGIN
    SELECT string_agg(quote_ident(rolname), ', ') INTO roles
      FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated');
    EXECUTE format('REVOKE ALL ON FUNCTION public.clipbase_jobs_name_source() FROM %s',
                   concat_ws(', ', 'PUBLIC', roles));
END
$$;
