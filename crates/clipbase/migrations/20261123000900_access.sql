-- Nobody reads or writes by default: row-level security on every table and no policy, no grants to the
-- roles of Supabase's Data API, no function callable by them.

DO $$
DECLARE
    name  text;
    roles text;
BEGIN
    SELECT string_agg(quote_ident(rolname), ', ') INTO roles
      FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated');
    roles := concat_ws(', ', 'PUBLIC', roles);

    -- The migrations' own table belongs to the runner, which closes it in the same way.
    FOREACH name IN ARRAY ARRAY['jobs', 'job_events', 'storage_deletions', 'job_idempotency',
                                'clipbase_installation'] LOOP
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('REVOKE ALL ON TABLE public.%I FROM %s', name, roles);
    END LOOP;
    FOR name IN
        SELECT proc.oid::regprocedure::text
          FROM pg_catalog.pg_proc AS proc
          JOIN pg_catalog.pg_namespace AS space ON space.oid = proc.pronamespace
         WHERE space.nspname = 'public' AND proc.proname LIKE 'clipbase\_%'
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', name, roles);
    END LOOP;
END
$$;
