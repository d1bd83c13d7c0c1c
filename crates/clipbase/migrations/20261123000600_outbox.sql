-- What must outlive a job or guard it: objects on their way to deletion, keys of repeated requests, and
-- which installation this database is.

CREATE TABLE public.storage_deletions (
    object_key      varchar(512) PRIMARY KEY,
    job_id          uuid NOT NULL,
    reason          varchar(32) NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    last_error_code varchar(64),
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT storage_deletions_reason_known CHECK (reason IN ('job_deleted', 'upload_unused'))
);
CREATE INDEX idx_storage_deletions_next_attempt_at ON public.storage_deletions (next_attempt_at);

COMMENT ON TABLE  public.storage_deletions IS 'Outbox: objects that no row owns any more, until the storage has confirmed that they are gone.';
COMMENT ON COLUMN public.storage_deletions.object_key IS 'The object, bucket first.';
COMMENT ON COLUMN public.storage_deletions.job_id IS 'The job that owned it; no foreign key, the job is gone.';
COMMENT ON COLUMN public.storage_deletions.reason IS 'job_deleted, or upload_unused: an upload announced before its job exists.';
COMMENT ON COLUMN public.storage_deletions.attempts IS 'How often its removal was tried.';
COMMENT ON COLUMN public.storage_deletions.last_error_code IS 'Why the last try failed.';
COMMENT ON COLUMN public.storage_deletions.next_attempt_at IS 'Not tried before; pushed into the future by whoever tries.';
COMMENT ON COLUMN public.storage_deletions.created_at IS 'When the object lost its owner, or was announced.';
COMMENT ON INDEX  public.idx_storage_deletions_next_attempt_at IS 'What is due, longest waiting first.';

CREATE TABLE public.job_idempotency (
    scope       varchar(128) NOT NULL,
    key         varchar(255) NOT NULL,
    fingerprint bytea NOT NULL,
    job_id      uuid NOT NULL CONSTRAINT job_idempotency_job_id_fkey
                REFERENCES public.jobs (id) ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL,
    CONSTRAINT job_idempotency_pkey PRIMARY KEY (scope, key)
);
CREATE INDEX idx_job_idempotency_job_id ON public.job_idempotency (job_id);
CREATE INDEX idx_job_idempotency_expires_at ON public.job_idempotency (expires_at);

COMMENT ON TABLE  public.job_idempotency IS 'Which job a repeated request stands for.';
COMMENT ON COLUMN public.job_idempotency.scope IS 'Who asks: keys of different callers never meet.';
COMMENT ON COLUMN public.job_idempotency.key IS 'The caller''s idempotency key.';
COMMENT ON COLUMN public.job_idempotency.fingerprint IS 'SHA-256 of the request: the same key for another request is refused.';
COMMENT ON COLUMN public.job_idempotency.job_id IS 'The job that the first request made.';
COMMENT ON COLUMN public.job_idempotency.expires_at IS 'From when on the key may be used anew.';
COMMENT ON INDEX  public.idx_job_idempotency_job_id IS 'For the cascade from a deleted job.';
COMMENT ON INDEX  public.idx_job_idempotency_expires_at IS 'Keys that have run out.';

CREATE TABLE public.clipbase_installation (
    singleton         boolean PRIMARY KEY DEFAULT true,
    id                uuid NOT NULL DEFAULT gen_random_uuid(),
    database_identity varchar(128),
    created_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT clipbase_installation_is_one_row CHECK (singleton)
);
INSERT INTO public.clipbase_installation DEFAULT VALUES;

COMMENT ON TABLE  public.clipbase_installation IS 'Which installation this is. The same id is stored as an object in each bucket.';
COMMENT ON COLUMN public.clipbase_installation.singleton IS 'Keeps the table at one row.';
COMMENT ON COLUMN public.clipbase_installation.id IS 'Random; claims and deletions refuse where the buckets'' differs.';
COMMENT ON COLUMN public.clipbase_installation.database_identity IS 'The server and database that were bootstrapped: a restored copy has another.';
COMMENT ON COLUMN public.clipbase_installation.created_at IS 'When the schema was installed.';
