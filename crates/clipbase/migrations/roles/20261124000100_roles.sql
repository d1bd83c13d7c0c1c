-- Roles of few privileges: clipbase_api for `clipbase serve`, clipbase_worker for `clipbase work` and
-- `clipbase cleanup`, clipbase_reader for people who look. Nobody connects as one of them: users are made members.
--
-- A column is granted where a statement of the library needs it, and not otherwise; a test revokes each grant
-- and finds the statement that misses it. A later migration that adds a column or a statement adds its grants.
--
-- Roles belong to the whole server, and another database of it may have made them already, or be making them now.
-- SQLSTATE of our own: CB008 a role is missing and cannot be made.

DO $$
DECLARE
    name     text;
    about    text;
    problems text;
BEGIN
    FOR name, about IN
        VALUES ('clipbase_api', 'What the API of clipbase needs; its users are members.'),
               ('clipbase_worker', 'What workers and the clean-up of clipbase need; their users are members.'),
               ('clipbase_reader', 'Reads the jobs and events of clipbase; its users are members.')
    LOOP
        CONTINUE WHEN to_regrole(name) IS NOT NULL;
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles
                        WHERE rolname = current_user AND (rolsuper OR rolcreaterole)) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'CB008',
                MESSAGE = format('the role %s is missing, and the user that migrates may not make roles', name),
                HINT = 'let a user with CREATEROLE run CREATE ROLE clipbase_api NOLOGIN, CREATE ROLE clipbase_worker NOLOGIN and CREATE ROLE clipbase_reader NOLOGIN, and migrate again';
        END IF;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXECUTE format('COMMENT ON ROLE %I IS %L', name, about);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            -- A migration of another database was faster: the role is there.
            NULL;
        END;
    END LOOP;

    -- A role of one of these names that is more than a group is somebody's user: it is not given our tables.
    SELECT string_agg(format('%s has %s', rolname, concat_ws(' and ',
               CASE WHEN rolcanlogin THEN 'LOGIN' END, CASE WHEN rolsuper THEN 'SUPERUSER' END,
               CASE WHEN rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
               CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END)),
               ', ' ORDER BY rolname) INTO problems
      FROM pg_catalog.pg_roles
     WHERE rolname IN ('clipbase_api', 'clipbase_worker', 'clipbase_reader')
       AND (rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication);
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'CB001',
            MESSAGE = 'the roles that are here are no groups: ' || problems,
            HINT = 'take that away with ALTER ROLE, or rename the role; users of their own are made members of the groups';
    END IF;

    -- The schema is open to everybody unless somebody closed it; then only its owner can open it.
    FOR name IN VALUES ('clipbase_api'), ('clipbase_worker'), ('clipbase_reader') LOOP
        IF NOT has_schema_privilege(name, 'public', 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', name);
        END IF;
    END LOOP;
END
$$;

-- The runner's own table, which every binary reads. Where this file is pushed by another tool the runner has not made
-- it yet, and finds it as it would have made it.
DO $$
DECLARE
    roles text;
BEGIN
    IF to_regclass('public.clipbase_migrations') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE TABLE public.clipbase_migrations (
        version     varchar(14) PRIMARY KEY,
        set_name    varchar(32) NOT NULL,
        name        varchar(128) NOT NULL,
        checksum    varchar(64) NOT NULL,
        is_breaking boolean NOT NULL,
        applied_at  timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON TABLE  public.clipbase_migrations IS 'Which migrations of clipbase this database has.';
    COMMENT ON COLUMN public.clipbase_migrations.version IS 'Fourteen digits: when the migration was written.';
    COMMENT ON COLUMN public.clipbase_migrations.set_name IS 'The set that it belongs to; core is always applied.';
    COMMENT ON COLUMN public.clipbase_migrations.name IS 'What it does.';
    COMMENT ON COLUMN public.clipbase_migrations.checksum IS 'SHA-256 of the file, in hexadecimal: a changed file is refused.';
    COMMENT ON COLUMN public.clipbase_migrations.is_breaking IS 'Whether binaries that do not know it must not run.';
    COMMENT ON COLUMN public.clipbase_migrations.applied_at IS 'When it was applied.';
    ALTER TABLE public.clipbase_migrations ENABLE ROW LEVEL SECURITY;
    SELECT concat_ws(', ', 'PUBLIC', string_agg(quote_ident(rolname), ', ')) INTO roles
      FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated');
    EXECUTE format('REVOKE ALL ON TABLE public.clipbase_migrations FROM %s', roles);
END
$$;

-- The API: makes jobs, moves and deletes them on request, reads everything about them, announces uploads.

GRANT SELECT, DELETE,
      INSERT (id, priority, shard, source_type, source_key, source_url, start_sec, end_sec, start_ms, end_ms,
              with_subtitles, burn_subtitles, subtitle_lang, max_attempts, run_at, expires_at, event_seq),
      -- A cancel and a retry go by the SQL that moves every job: it names all that a move may write.
      UPDATE (status, priority, shard, start_sec, end_sec, start_ms, end_ms, with_subtitles, burn_subtitles,
              subtitle_lang, progress, attempts, max_attempts, last_heartbeat_at, result_video_key, result_srt_key,
              error_code, error_message, updated_at, expires_at, source_expires_at, lease, lease_expires_at,
              worker_id, run_at, cancel_requested_at, started_at, finished_at, event_seq)
    ON public.jobs TO clipbase_api;
GRANT SELECT, INSERT (job_id, seq, type, data) ON public.job_events TO clipbase_api;
GRANT SELECT, DELETE, INSERT (scope, key, fingerprint, job_id, expires_at), UPDATE (fingerprint, job_id, expires_at)
    ON public.job_idempotency TO clipbase_api;
GRANT SELECT (object_key, reason, attempts, last_error_code, next_attempt_at, writable_until, bucket), DELETE,
      INSERT (object_key, job_id, reason, next_attempt_at, writable_until), UPDATE (next_attempt_at, writable_until)
    ON public.storage_deletions TO clipbase_api;
GRANT SELECT (id, database_identity) ON public.clipbase_installation TO clipbase_api;
GRANT SELECT ON public.clipbase_migrations TO clipbase_api;

CREATE POLICY clipbase_api ON public.jobs TO clipbase_api USING (true) WITH CHECK (true);
CREATE POLICY clipbase_api ON public.job_events TO clipbase_api USING (true) WITH CHECK (true);
CREATE POLICY clipbase_api ON public.job_idempotency TO clipbase_api USING (true) WITH CHECK (true);
CREATE POLICY clipbase_api ON public.storage_deletions TO clipbase_api USING (true) WITH CHECK (true);
CREATE POLICY clipbase_api ON public.clipbase_installation FOR SELECT TO clipbase_api USING (true);
CREATE POLICY clipbase_api ON public.clipbase_migrations FOR SELECT TO clipbase_api USING (true);

-- Workers and the clean-up: claim jobs and move them on, delete what is past its time, empty the outbox, compare
-- the buckets with the rows. They make no job and change nothing that a caller asked for.

GRANT SELECT, DELETE,
      UPDATE (status, progress, attempts, last_heartbeat_at, result_video_key, result_srt_key, error_code,
              error_message, updated_at, expires_at, source_expires_at, source_deleted_at, lease, lease_expires_at,
              worker_id, run_at, cancel_requested_at, started_at, finished_at, event_seq)
    ON public.jobs TO clipbase_worker;
GRANT SELECT, INSERT (job_id, seq, type, data) ON public.job_events TO clipbase_worker;
-- Keys of requests are forgotten by their time alone; the lock on them counts as an update.
GRANT SELECT (ctid, scope, expires_at), DELETE, UPDATE (expires_at) ON public.job_idempotency TO clipbase_worker;
GRANT SELECT, DELETE, INSERT (object_key, job_id, reason), UPDATE (reason, attempts, last_error_code, next_attempt_at)
    ON public.storage_deletions TO clipbase_worker;
GRANT SELECT (id, database_identity, reconcile_due_at), UPDATE (reconcile_due_at)
    ON public.clipbase_installation TO clipbase_worker;
GRANT SELECT ON public.clipbase_migrations TO clipbase_worker;

CREATE POLICY clipbase_worker ON public.jobs TO clipbase_worker USING (true) WITH CHECK (true);
CREATE POLICY clipbase_worker ON public.job_events TO clipbase_worker USING (true) WITH CHECK (true);
CREATE POLICY clipbase_worker ON public.job_idempotency TO clipbase_worker USING (true) WITH CHECK (true);
CREATE POLICY clipbase_worker ON public.storage_deletions TO clipbase_worker USING (true) WITH CHECK (true);
CREATE POLICY clipbase_worker ON public.clipbase_installation TO clipbase_worker USING (true) WITH CHECK (true);
CREATE POLICY clipbase_worker ON public.clipbase_migrations FOR SELECT TO clipbase_worker USING (true);

-- People who look, and what shows them: jobs, events, how much waits in the outbox. No key of a request, no
-- fingerprint, no API key.

GRANT SELECT ON public.jobs, public.job_events, public.clipbase_migrations TO clipbase_reader;
GRANT SELECT (attempts, last_error_code, next_attempt_at, bucket) ON public.storage_deletions TO clipbase_reader;
GRANT SELECT (id, database_identity) ON public.clipbase_installation TO clipbase_reader;

CREATE POLICY clipbase_reader ON public.jobs FOR SELECT TO clipbase_reader USING (true);
CREATE POLICY clipbase_reader ON public.job_events FOR SELECT TO clipbase_reader USING (true);
CREATE POLICY clipbase_reader ON public.storage_deletions FOR SELECT TO clipbase_reader USING (true);
CREATE POLICY clipbase_reader ON public.clipbase_installation FOR SELECT TO clipbase_reader USING (true);
CREATE POLICY clipbase_reader ON public.clipbase_migrations FOR SELECT TO clipbase_reader USING (true);
