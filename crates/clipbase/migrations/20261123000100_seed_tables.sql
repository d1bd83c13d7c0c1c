-- The tables of the seed, column for column: https://orm.drizzle.team users already have them.
-- On a database that was made by the seed's own client nothing is created here; what exists must have the
-- seed's columns, or the migration stops before it changes anything.

DO $$
BEGIN
    IF to_regtype('public.job_status') IS NULL THEN
        CREATE TYPE public.job_status AS ENUM ('queued', 'processing', 'done', 'failed');
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS public.jobs (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    status            public.job_status NOT NULL DEFAULT 'queued',
    priority          varchar(16) NOT NULL DEFAULT 'normal',
    shard             integer NOT NULL DEFAULT 0,
    source_type       varchar(16) NOT NULL,
    source_key        varchar(512),
    source_url        varchar(1024),
    start_sec         integer NOT NULL,
    end_sec           integer NOT NULL,
    with_subtitles    boolean NOT NULL DEFAULT false,
    burn_subtitles    boolean NOT NULL DEFAULT false,
    subtitle_lang     varchar(16) DEFAULT 'auto',
    progress          integer NOT NULL DEFAULT 0,
    attempts          integer NOT NULL DEFAULT 0,
    last_heartbeat_at timestamptz,
    result_video_key  varchar(512),
    result_srt_key    varchar(512),
    error_code        varchar(64),
    error_message     text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz
);

CREATE TABLE IF NOT EXISTS public.job_events (
    id     uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_id uuid NOT NULL CONSTRAINT job_events_job_id_jobs_id_fk
           REFERENCES public.jobs (id) ON DELETE CASCADE,
    ts     timestamptz NOT NULL DEFAULT now(),
    type   varchar(64) NOT NULL,
    data   jsonb
);

CREATE INDEX IF NOT EXISTS idx_job_events_job_id_ts ON public.job_events (job_id, ts);

DO $$
DECLARE
    missing text;
BEGIN
    SELECT string_agg(format('%s.%s %s', want.tab, want.col, want.typ), ', ' ORDER BY want.tab, want.col)
      INTO missing
      FROM (VALUES
        ('jobs', 'id', 'uuid'), ('jobs', 'status', 'job_status'), ('jobs', 'priority', 'varchar'),
        ('jobs', 'shard', 'int4'), ('jobs', 'source_type', 'varchar'), ('jobs', 'source_key', 'varchar'),
        ('jobs', 'source_url', 'varchar'), ('jobs', 'start_sec', 'int4'), ('jobs', 'end_sec', 'int4'),
        ('jobs', 'with_subtitles', 'bool'), ('jobs', 'burn_subtitles', 'bool'),
        ('jobs', 'subtitle_lang', 'varchar'), ('jobs', 'progress', 'int4'), ('jobs', 'attempts', 'int4'),
        ('jobs', 'last_heartbeat_at', 'timestamptz'), ('jobs', 'result_video_key', 'varchar'),
        ('jobs', 'result_srt_key', 'varchar'), ('jobs', 'error_code', 'varchar'),
        ('jobs', 'error_message', 'text'), ('jobs', 'created_at', 'timestamptz'),
        ('jobs', 'updated_at', 'timestamptz'), ('jobs', 'expires_at', 'timestamptz'),
        ('job_events', 'id', 'uuid'), ('job_events', 'job_id', 'uuid'), ('job_events', 'ts', 'timestamptz'),
        ('job_events', 'type', 'varchar'), ('job_events', 'data', 'jsonb')
      ) AS want (tab, col, typ)
     WHERE NOT EXISTS (
        SELECT FROM information_schema.columns AS have
         WHERE have.table_schema = 'public' AND have.table_name = want.tab
           AND have.column_name = want.col AND have.udt_name = want.typ);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'CB001',
            MESSAGE = 'the tables jobs and job_events exist already, but not as the seed defines them: ' || missing,
            HINT = 'clipbase adopts a database of the seed; rename the tables that are not of it';
    END IF;
    IF (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_catalog.pg_enum
         WHERE enumtypid = 'public.job_status'::regtype)
       IS DISTINCT FROM ARRAY['queued', 'processing', 'done', 'failed'] THEN
        RAISE EXCEPTION USING
            ERRCODE = 'CB001',
            MESSAGE = 'the type job_status exists already with other values than queued, processing, done, failed';
    END IF;
END
$$;

COMMENT ON TYPE public.job_status IS 'queued: waits for a worker. processing: a worker holds its lease. done: final, results stored. failed: ended with a code, may be retried.';
