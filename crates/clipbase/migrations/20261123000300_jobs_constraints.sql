-- What no row may say. Rows that were adopted from the seed and break a rule are exempt by their time of
-- creation: they stay readable and deletable, and every newer row obeys.

DO $$
DECLARE
    exempt text := '';
    newest timestamptz;
BEGIN
    SELECT max(created_at) INTO newest FROM public.jobs;
    IF newest IS NOT NULL THEN
        exempt := format('created_at <= %L OR ', to_char(newest AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00'));
    END IF;

    EXECUTE format('ALTER TABLE public.jobs ADD CONSTRAINT jobs_progress_percent CHECK (progress BETWEEN 0 AND 100)');
    EXECUTE format('ALTER TABLE public.jobs ADD CONSTRAINT jobs_priority_known CHECK (priority IN (''high'', ''normal'', ''low''))');
    EXECUTE format('ALTER TABLE public.jobs ADD CONSTRAINT jobs_range CHECK (%s'
        '(start_sec >= 0 AND end_sec > start_sec AND (start_ms IS NULL) = (end_ms IS NULL) AND '
        '(start_ms IS NULL OR (end_ms > start_ms AND start_sec = start_ms / 1000 AND end_sec = (end_ms + 999) / 1000))))', exempt);
    EXECUTE format('ALTER TABLE public.jobs ADD CONSTRAINT jobs_source_by_type CHECK (%s'
        '(source_type = ''upload'' AND source_key IS NOT NULL AND source_url IS NULL) OR '
        '(source_type = ''youtube'' AND source_url IS NOT NULL AND source_key IS NULL))', exempt);
    EXECUTE format('ALTER TABLE public.jobs ADD CONSTRAINT jobs_burn_needs_subtitles CHECK (%s'
        '(with_subtitles OR NOT burn_subtitles))', exempt);
    EXECUTE format('ALTER TABLE public.jobs ADD CONSTRAINT jobs_done_has_video CHECK (%s'
        '(status <> ''done'' OR result_video_key IS NOT NULL))', exempt);
    ALTER TABLE public.jobs ADD CONSTRAINT jobs_failed_has_code
        CHECK (status <> 'failed' OR error_code IS NOT NULL);
    ALTER TABLE public.jobs ADD CONSTRAINT jobs_processing_has_lease
        CHECK (status <> 'processing' OR (lease > 0 AND lease_expires_at IS NOT NULL));
    ALTER TABLE public.jobs ADD CONSTRAINT jobs_max_attempts_bounded
        CHECK (max_attempts BETWEEN 1 AND 100);
END
$$;
