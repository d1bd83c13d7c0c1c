-- What the API's role may do with API keys, on a database that has both sets of migrations. Keys are revoked, never
-- deleted. The hash is read where a request's key is checked; nobody else of the roles has anything to do here.

GRANT SELECT, INSERT (id, name, key_hash, scopes, rate_limit_per_min, rate_full_at),
      UPDATE (revoked_at, last_used_at, rate_full_at)
    ON public.api_keys TO clipbase_api;

CREATE POLICY clipbase_api ON public.api_keys TO clipbase_api USING (true) WITH CHECK (true);
