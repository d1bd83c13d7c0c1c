-- What no row may say. Rows that were adopted from the seed and break a rule are exempt from that rule by
-- their time of creation: they stay readable, movable and deletable, and every newer row obeys. Where no
-- row breaks a rule, the rule has no exemption.

DO $$
DECLARE
    rule   record;
    newest timestamptz;
BEGIN
    FOR rule IN
        SELECT * FROM (VALUES
            ('jobs_range',
             'start_sec >= 0 AND end_sec > start_sec AND (start_ms IS NULL) = (end_ms IS NULL) AND '
             '(start_ms IS NULL OR (end_ms > start_ms AND start_sec = start_ms / 1000 AND end_sec = (end_ms + 999) / 1000))'),
            ('jobs_source_by_type',
             -- A client that lets the database make the id can name its source only after the insert: until it
             -- does, the job waits, and nobody claims it.
             '(source_type = ''upload'' AND source_url IS NULL AND '
             ' (source_key IS NOT NULL OR status IN (''queued'', ''failed''))) OR '
             '(source_type = ''youtube'' AND source_key IS NULL AND '
             ' (source_url IS NOT NULL OR status IN (''queued'', ''failed'')))'),
            ('jobs_burn_needs_subtitles', 'with_subtitles OR NOT burn_subtitles'),
            ('jobs_done_has_video', 'status <> ''done'' OR result_video_key IS NOT NULL')
          ) AS rule (name, sense)
    LOOP
        EXECUTE format('SELECT max(created_at) FROM public.jobs WHERE NOT (%s)', rule.sense) INTO newest;
        EXECUTE format('ALTER TABLE public.jobs ADD CONSTRAINT %I CHECK (%s)', rule.name,
                       CASE WHEN newest IS NULL THEN rule.sense
                            ELSE format('created_at <= %L::timestamptz OR (%s)', newest, rule.sense) END);
    END LOOP;
END
$$;

ALTER TABLE public.jobs
    ADD CONSTRAINT jobs_progress_percent CHECK (progress BETWEEN 0 AND 100),
    ADD CONSTRAINT jobs_priority_known CHECK (priority IN ('high', 'normal', 'low')),
    ADD CONSTRAINT jobs_failed_has_code CHECK (status <> 'failed' OR error_code IS NOT NULL),
    ADD CONSTRAINT jobs_processing_has_lease
        CHECK (status <> 'processing' OR (lease > 0 AND lease_expires_at IS NOT NULL)),
    ADD CONSTRAINT jobs_max_attempts_bounded CHECK (max_attempts BETWEEN 1 AND 100);
