-- The tables of the seed, column for column; clients of its Drizzle schema have them already.
-- On a database that was made by the seed's own client nothing is created here; what exists must have the
-- seed's columns, or the migration stops before it changes anything.

-- What is here already is looked at before anything is made.
DO $$
DECLARE
    problems text;
BEGIN
    WITH want (tab, col, typ, len, required) AS (VALUES
        ('jobs', 'id', 'uuid', 0, true), ('jobs', 'status', 'job_status', 0, true),
        ('jobs', 'priority', 'varchar', 16, true), ('jobs', 'shard', 'int4', 0, true),
        ('jobs', 'source_type', 'varchar', 16, true), ('jobs', 'source_key', 'varchar', 512, false),
        ('jobs', 'source_url', 'varchar', 1024, false), ('jobs', 'start_sec', 'int4', 0, true),
        ('jobs', 'end_sec', 'int4', 0, true), ('jobs', 'with_subtitles', 'bool', 0, true),
        ('jobs', 'burn_subtitles', 'bool', 0, true), ('jobs', 'subtitle_lang', 'varchar', 16, false),
        ('jobs', 'progress', 'int4', 0, true), ('jobs', 'attempts', 'int4', 0, true),
        ('jobs', 'last_heartbeat_at', 'timestamptz', 0, false),
        ('jobs', 'result_video_key', 'varchar', 512, false), ('jobs', 'result_srt_key', 'varchar', 512, false),
        ('jobs', 'error_code', 'varchar', 64, false), ('jobs', 'error_message', 'text', 0, false),
        ('jobs', 'created_at', 'timestamptz', 0, true), ('jobs', 'updated_at', 'timestamptz', 0, true),
        ('jobs', 'expires_at', 'timestamptz', 0, false),
        ('job_events', 'id', 'uuid', 0, true), ('job_events', 'job_id', 'uuid', 0, true),
        ('job_events', 'ts', 'timestamptz', 0, true), ('job_events', 'type', 'varchar', 64, true),
        ('job_events', 'data', 'jsonb', 0, false)
    ),
    have AS (
        SELECT class.relname::text AS tab, att.attname::text AS col, typ.typname::text AS typ,
               CASE WHEN typ.typname = 'varchar' AND att.atttypmod > 4 THEN att.atttypmod - 4 ELSE 1048576 END AS len,
               att.attnotnull AS required, att.atthasdef OR att.attidentity <> '' AS is_filled
          FROM pg_catalog.pg_attribute AS att
          JOIN pg_catalog.pg_class AS class ON class.oid = att.attrelid
          JOIN pg_catalog.pg_type AS typ ON typ.oid = att.atttypid
         WHERE class.oid IN (to_regclass('public.jobs'), to_regclass('public.job_events'))
           AND att.attnum > 0 AND NOT att.attisdropped
    ),
    problem (text) AS (
        SELECT format('%s is not an ordinary table', class.relname)
          FROM pg_catalog.pg_class AS class
         WHERE class.oid IN (to_regclass('public.jobs'), to_regclass('public.job_events')) AND class.relkind <> 'r'
        UNION ALL
        SELECT format('%s.%s is not %s%s%s', want.tab, want.col, want.typ,
                      CASE WHEN want.len > 0 THEN format('(%s)', want.len) ELSE '' END,
                      CASE WHEN want.required THEN ' not null' ELSE '' END)
          FROM want
         WHERE to_regclass('public.' || want.tab) IS NOT NULL AND NOT EXISTS (
            SELECT FROM have
             WHERE have.tab = want.tab AND have.col = want.col AND have.typ = want.typ AND have.len >= want.len
               AND have.required = want.required)
        UNION ALL
        -- A column that the seed has not: harmless unless ours is to have its name, or a row needs a value for it.
        SELECT format('%s.%s is not a column of the seed', have.tab, have.col)
          FROM have
         WHERE NOT EXISTS (SELECT FROM want WHERE want.tab = have.tab AND want.col = have.col)
           AND ((have.required AND NOT have.is_filled)
                OR have.col IN ('seq', 'lease', 'lease_expires_at', 'worker_id', 'run_at', 'max_attempts',
                                'cancel_requested_at', 'started_at', 'finished_at', 'event_seq', 'start_ms',
                                'end_ms', 'priority_rank'))
        UNION ALL
        SELECT format('%s has not the primary key id', class.relname)
          FROM pg_catalog.pg_class AS class
         WHERE class.oid IN (to_regclass('public.jobs'), to_regclass('public.job_events'))
           AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_constraint AS con
             WHERE con.conrelid = class.oid AND con.contype = 'p' AND con.conname = class.relname || '_pkey'
               AND pg_catalog.pg_get_constraintdef(con.oid) = 'PRIMARY KEY (id)')
        UNION ALL
        SELECT 'job_events.job_id has not the foreign key job_events_job_id_jobs_id_fk on jobs with ON DELETE CASCADE'
         WHERE to_regclass('public.job_events') IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_constraint AS con
             WHERE con.conrelid = to_regclass('public.job_events') AND con.contype = 'f'
               AND con.conname = 'job_events_job_id_jobs_id_fk'
               AND con.confrelid = to_regclass('public.jobs') AND con.confdeltype = 'c')
        UNION ALL
        -- The events' primary key moves to (job_id, seq).
        SELECT format('%s refers to job_events.id', con.conrelid::regclass)
          FROM pg_catalog.pg_constraint AS con
         WHERE con.confrelid = to_regclass('public.job_events') AND con.contype = 'f'
        UNION ALL
        SELECT format('%s exists, and is not of the seed', name)
          FROM unnest(ARRAY['storage_deletions', 'job_idempotency', 'clipbase_installation',
                            'clipbase_adoption']) AS name
         WHERE to_regclass('public.' || name) IS NOT NULL
        UNION ALL
        SELECT 'the type job_status has other values than queued, processing, done, failed'
         WHERE to_regtype('public.job_status') IS NOT NULL
           AND (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_catalog.pg_enum
                 WHERE enumtypid = to_regtype('public.job_status'))
               IS DISTINCT FROM ARRAY['queued', 'processing', 'done', 'failed']
    )
    SELECT string_agg(problem.text, '; ' ORDER BY problem.text) INTO problems FROM problem;
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'CB001',
            MESSAGE = 'the tables that are here are not those of the seed: ' || problems,
            HINT = 'clipbase adopts a database of the seed; rename the tables that are not of it';
    END IF;
END
$$;

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

COMMENT ON TYPE public.job_status IS 'queued: waits for a worker. processing: a worker holds its lease. done: final, results stored. failed: ended with a code, may be retried.';
