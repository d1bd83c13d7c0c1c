-- Who compares the buckets with the rows: one of many, without a leader.

ALTER TABLE public.clipbase_installation
    ADD COLUMN reconcile_due_at timestamptz NOT NULL DEFAULT now();

COMMENT ON COLUMN public.clipbase_installation.reconcile_due_at IS 'When the buckets are compared with the rows next; pushed into the future by whoever does it.';
