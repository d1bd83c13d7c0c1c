-- The law, for whoever asks. Every function is SECURITY DEFINER, since an invoker could not write the
-- events or the outbox, with an empty search_path, and nobody may call it directly.
--
-- SQLSTATEs of our own: CB001 foreign tables (where the seed's are made), CB002 illegal
-- transition, CB003 a new job that does not start as one, CB004 a counter that goes back, CB005 events are
-- append-only, CB006 TRUNCATE, CB007 too many events.

-- What a change means for the fields that events account for.
CREATE FUNCTION public.clipbase_changes(before public.jobs, after public.jobs) RETURNS jsonb
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
        ('cancel_requested', to_jsonb(before.cancel_requested_at IS NOT NULL), to_jsonb(after.cancel_requested_at IS NOT NULL))
      ) AS field (name, old_value, new_value)
     WHERE field.old_value IS DISTINCT FROM field.new_value
$$;

-- A new job starts as one. -------------------------------------------------------------------------

CREATE FUNCTION public.clipbase_jobs_refuse_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'CB003',
        MESSAGE = format('a new job starts queued, unclaimed and without results; this one says status %s, lease %s, attempts %s, event_seq %s',
                         NEW.status, NEW.lease, NEW.attempts, NEW.event_seq),
        HINT = 'leave status, lease, attempts, event_seq, worker, results, error, cancel and finish to their defaults';
END
$$;

CREATE TRIGGER clipbase_10_new_job_is_new BEFORE INSERT ON public.jobs
FOR EACH ROW
WHEN (NEW.status <> 'queued' OR NEW.lease <> 0 OR NEW.attempts <> 0 OR NEW.event_seq NOT IN (0, 1)
      OR NEW.lease_expires_at IS NOT NULL OR NEW.worker_id IS NOT NULL OR NEW.cancel_requested_at IS NOT NULL
      OR NEW.started_at IS NOT NULL OR NEW.finished_at IS NOT NULL OR NEW.result_video_key IS NOT NULL
      OR NEW.result_srt_key IS NOT NULL OR NEW.error_code IS NOT NULL OR NEW.error_message IS NOT NULL)
EXECUTE FUNCTION public.clipbase_jobs_refuse_insert();

-- A row inserted by hand has taken no number for its first event: it gets both here. Not always number 1: a
-- statement that inserts a job and an event in one has numbered its own event before this runs.
CREATE FUNCTION public.clipbase_jobs_record_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
    number integer;
BEGIN
    UPDATE public.jobs SET event_seq = event_seq + 1 WHERE id = NEW.id RETURNING event_seq INTO number;
    INSERT INTO public.job_events (job_id, seq, type, data)
    VALUES (NEW.id, number, 'created', '{"by": "sql", "set": {"status": "queued"}}');
    RETURN NULL;
END
$$;

CREATE TRIGGER clipbase_20_record_insert AFTER INSERT ON public.jobs
FOR EACH ROW WHEN (NEW.event_seq = 0)
EXECUTE FUNCTION public.clipbase_jobs_record_insert();

-- Counters only rise. ------------------------------------------------------------------------------

CREATE FUNCTION public.clipbase_jobs_refuse_counters() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'CB004',
        MESSAGE = format('lease and event_seq only rise, by one at a time: lease %s to %s, event_seq %s to %s is refused',
                         OLD.lease, NEW.lease, OLD.event_seq, NEW.event_seq),
        HINT = 'leave lease and event_seq alone; the database counts them';
END
$$;

CREATE TRIGGER clipbase_10_counters_rise BEFORE UPDATE OF lease, event_seq ON public.jobs
FOR EACH ROW
WHEN (NEW.lease NOT IN (OLD.lease, OLD.lease + 1) OR NEW.event_seq NOT IN (OLD.event_seq, OLD.event_seq + 1))
EXECUTE FUNCTION public.clipbase_jobs_refuse_counters();

-- Status moves along the edges. --------------------------------------------------------------------

-- Guards the edge; where the caller took no event number (a client of the seed, raw SQL), also completes
-- what such a client cannot know, and writes the event.
CREATE FUNCTION public.clipbase_jobs_guard_status() RETURNS trigger
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

-- The function is called only where there is something to refuse or to complete: the WHEN clause knows
-- the legal edges too, and lets pass what took its own event number.
CREATE TRIGGER clipbase_20_guard_status BEFORE UPDATE OF status ON public.jobs
FOR EACH ROW
WHEN (OLD.status <> NEW.status AND NOT (
    NEW.event_seq = OLD.event_seq + 1 AND (
        (OLD.status = 'queued' AND NEW.status = 'processing' AND NEW.lease = OLD.lease + 1)
     OR (OLD.status = 'processing' AND NEW.status IN ('done', 'failed', 'queued'))
     OR (OLD.status = 'queued' AND NEW.status = 'failed')
     OR (OLD.status = 'failed' AND NEW.status = 'queued'))))
EXECUTE FUNCTION public.clipbase_jobs_guard_status();

-- Other fields that events account for, changed by hand without a change of status.
CREATE FUNCTION public.clipbase_jobs_record_update() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
    changes jsonb := public.clipbase_changes(OLD, NEW);
BEGIN
    IF changes <> '{}'::jsonb THEN
        NEW.event_seq := OLD.event_seq + 1;
        NEW.updated_at := now();
        INSERT INTO public.job_events (job_id, seq, type, data)
        VALUES (NEW.id, NEW.event_seq, 'updated', jsonb_build_object('by', 'sql', 'set', changes));
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER clipbase_30_record_update
BEFORE UPDATE OF lease, attempts, worker_id, error_code, error_message, result_video_key, result_srt_key,
                 cancel_requested_at ON public.jobs
FOR EACH ROW
WHEN (OLD.status = NEW.status AND OLD.event_seq = NEW.event_seq)
EXECUTE FUNCTION public.clipbase_jobs_record_update();

-- Exact milliseconds that no longer fit the seconds are dropped, not believed.
CREATE FUNCTION public.clipbase_jobs_forget_milliseconds() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    NEW.start_ms := NULL;
    NEW.end_ms := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER clipbase_40_forget_milliseconds BEFORE UPDATE OF start_sec, end_sec ON public.jobs
FOR EACH ROW
WHEN ((OLD.start_sec <> NEW.start_sec OR OLD.end_sec <> NEW.end_sec) AND NEW.start_ms IS NOT NULL
      AND OLD.start_ms IS NOT DISTINCT FROM NEW.start_ms AND OLD.end_ms IS NOT DISTINCT FROM NEW.end_ms)
EXECUTE FUNCTION public.clipbase_jobs_forget_milliseconds();

-- A deleted job's objects go into the outbox, whoever deletes it. ----------------------------------

-- Exactly the keys that the job may own: its source, if inside its own folder, and the result pair of
-- every lease it ever had. While its worker may still be uploading, they wait.
CREATE FUNCTION public.clipbase_jobs_to_outbox() RETURNS trigger
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
       SET reason = 'job_deleted', next_attempt_at = EXCLUDED.next_attempt_at;
    RETURN NULL;
END
$$;

CREATE TRIGGER clipbase_50_to_outbox AFTER DELETE ON public.jobs
REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION public.clipbase_jobs_to_outbox();

CREATE FUNCTION public.clipbase_refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'CB006',
        MESSAGE = format('TRUNCATE of %s is refused: it would leave stored objects without an owner', TG_TABLE_NAME),
        HINT = 'use DELETE: it hands the objects to the clean-up';
END
$$;

CREATE TRIGGER clipbase_60_refuse_truncate BEFORE TRUNCATE ON public.jobs
FOR EACH STATEMENT EXECUTE FUNCTION public.clipbase_refuse_truncate();
CREATE TRIGGER clipbase_60_refuse_truncate BEFORE TRUNCATE ON public.storage_deletions
FOR EACH STATEMENT EXECUTE FUNCTION public.clipbase_refuse_truncate();

COMMENT ON FUNCTION public.clipbase_changes(public.jobs, public.jobs) IS 'What an update changed of the fields that events account for.';
COMMENT ON FUNCTION public.clipbase_jobs_refuse_insert() IS 'CB003: a new job starts as one.';
COMMENT ON FUNCTION public.clipbase_jobs_record_insert() IS 'Writes the created event of a job that was inserted by hand.';
COMMENT ON FUNCTION public.clipbase_jobs_refuse_counters() IS 'CB004: lease and event_seq only rise, by one.';
COMMENT ON FUNCTION public.clipbase_jobs_guard_status() IS 'CB002: refuses every move that is no edge; completes and records a move made by hand.';
COMMENT ON FUNCTION public.clipbase_jobs_record_update() IS 'Writes the updated event of a change made by hand.';
COMMENT ON FUNCTION public.clipbase_jobs_forget_milliseconds() IS 'Drops the exact range when the seconds change without it.';
COMMENT ON FUNCTION public.clipbase_jobs_to_outbox() IS 'Hands the objects of deleted jobs to the clean-up.';
COMMENT ON FUNCTION public.clipbase_refuse_truncate() IS 'CB006: TRUNCATE would leave stored objects without an owner.';
