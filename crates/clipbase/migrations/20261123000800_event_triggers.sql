-- Events are append-only, and number themselves where the writer took no number.

CREATE FUNCTION public.clipbase_events_number() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    IF jsonb_typeof(NEW.data) = 'object' AND NEW.data ? 'set' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'CB005',
            MESSAGE = 'the key "set" in an event''s data is reserved for what the event changed in its job',
            HINT = 'use another key';
    END IF;
    UPDATE public.jobs SET event_seq = event_seq + 1 WHERE id = NEW.job_id
    RETURNING event_seq INTO NEW.seq;
    IF NEW.seq > 10000 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'CB007',
            MESSAGE = 'the job has 10000 events, which is the most that callers may add',
            HINT = 'log less, or keep the details elsewhere';
    END IF;
    -- An absent job: any number will do, the foreign key refuses the row.
    NEW.seq := coalesce(NEW.seq, 1);
    RETURN NEW;
END
$$;

CREATE TRIGGER clipbase_10_number BEFORE INSERT ON public.job_events
FOR EACH ROW WHEN (NEW.seq IS NULL)
EXECUTE FUNCTION public.clipbase_events_number();

CREATE FUNCTION public.clipbase_events_refuse_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    -- The cascade from a deleted job arrives through the foreign key's own trigger, one level down.
    IF TG_OP = 'DELETE' AND pg_trigger_depth() > 1 THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'CB005',
        MESSAGE = format('events are append-only: %s is refused', TG_OP),
        HINT = 'add another event; events go when their job is deleted';
END
$$;

CREATE TRIGGER clipbase_20_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON public.job_events
FOR EACH STATEMENT EXECUTE FUNCTION public.clipbase_events_refuse_change();

COMMENT ON FUNCTION public.clipbase_events_number() IS 'Numbers an event whose writer took no number. CB007: at most 10000 a job.';
COMMENT ON FUNCTION public.clipbase_events_refuse_change() IS 'CB005: events are append-only.';
