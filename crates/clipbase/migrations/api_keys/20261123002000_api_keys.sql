-- The seed's optional table of API keys. One that is there already keeps its rows; it must have the seed's
-- columns, or the migration stops before it changes anything.

DO $$
DECLARE
    problems text;
BEGIN
    WITH want (col, typ, len, required) AS (VALUES
        ('id', 'uuid', 0, true), ('name', 'varchar', 128, true), ('key_hash', 'varchar', 128, true),
        ('scopes', 'varchar', 256, false), ('rate_limit_per_min', 'int4', 0, false),
        ('created_at', 'timestamptz', 0, true), ('revoked_at', 'timestamptz', 0, false)
    ),
    have AS (
        SELECT att.attname::text AS col, typ.typname::text AS typ,
               CASE WHEN typ.typname = 'varchar' AND att.atttypmod > 4 THEN att.atttypmod - 4 ELSE 1048576 END AS len,
               att.attnotnull AS required, att.atthasdef OR att.attidentity <> '' AS is_filled
          FROM pg_catalog.pg_attribute AS att
          JOIN pg_catalog.pg_type AS typ ON typ.oid = att.atttypid
         WHERE att.attrelid = to_regclass('public.api_keys') AND att.attnum > 0 AND NOT att.attisdropped
    ),
    problem (text) AS (
        SELECT 'api_keys is not an ordinary table'
          FROM pg_catalog.pg_class AS class
         WHERE class.oid = to_regclass('public.api_keys') AND class.relkind <> 'r'
        UNION ALL
        SELECT format('api_keys.%s is not %s%s%s', want.col, want.typ,
                      CASE WHEN want.len > 0 THEN format('(%s)', want.len) ELSE '' END,
                      CASE WHEN want.required THEN ' not null' ELSE '' END)
          FROM want
         WHERE to_regclass('public.api_keys') IS NOT NULL AND NOT EXISTS (
            SELECT FROM have
             WHERE have.col = want.col AND have.typ = want.typ AND have.len >= want.len
               AND have.required = want.required)
        UNION ALL
        -- A column that the seed has not: harmless unless ours is to have its name, or a row needs a value for
        -- it. A time of the last use is what many have added themselves, and is taken over.
        SELECT format('api_keys.%s is not a column of the seed', have.col)
          FROM have
         WHERE NOT EXISTS (SELECT FROM want WHERE want.col = have.col)
           AND ((have.required AND NOT have.is_filled)
                OR have.col = 'rate_full_at'
                OR (have.col = 'last_used_at' AND (have.typ <> 'timestamptz' OR have.required)))
        UNION ALL
        SELECT 'api_keys has not the primary key id'
         WHERE to_regclass('public.api_keys') IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_constraint AS con
             WHERE con.conrelid = to_regclass('public.api_keys') AND con.contype = 'p'
               AND con.conname = 'api_keys_pkey'
               AND pg_catalog.pg_get_constraintdef(con.oid) = 'PRIMARY KEY (id)')
    )
    SELECT string_agg(problem.text, '; ' ORDER BY problem.text) INTO problems FROM problem;
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'CB001',
            MESSAGE = 'the table that is here is not that of the seed: ' || problems,
            HINT = 'clipbase adopts the table api_keys of the seed; rename one that is not of it';
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS public.api_keys (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name               varchar(128) NOT NULL,
    key_hash           varchar(128) NOT NULL,
    scopes             varchar(256) DEFAULT '',
    rate_limit_per_min integer DEFAULT 60,
    created_at         timestamptz NOT NULL DEFAULT now(),
    revoked_at         timestamptz
);

ALTER TABLE public.api_keys
    ADD COLUMN IF NOT EXISTS last_used_at timestamptz,
    ADD COLUMN rate_full_at timestamptz;

-- The seed's name on its own columns, whatever stood under it.
DROP INDEX IF EXISTS public.idx_api_keys_active;
CREATE INDEX idx_api_keys_active ON public.api_keys (key_hash, revoked_at);

-- Adopted rows that break the rule are exempt by their time of creation: they stay readable and revocable.
DO $$
DECLARE
    sense  constant text := 'rate_limit_per_min BETWEEN 1 AND 60000';
    newest timestamptz;
BEGIN
    EXECUTE format('SELECT max(created_at) FROM public.api_keys WHERE NOT (%s)', sense) INTO newest;
    EXECUTE format('ALTER TABLE public.api_keys ADD CONSTRAINT api_keys_rate_limit_bounded CHECK (%s)',
                   CASE WHEN newest IS NULL THEN sense
                        ELSE format('created_at <= %L::timestamptz OR (%s)', newest, sense) END);
END
$$;

-- Every request writes its key's row, and no index has what it writes: room for the new version on the page.
ALTER TABLE public.api_keys SET (fillfactor = 50);

COMMENT ON TABLE  public.api_keys IS 'Who may call the API. A key reads cb_{id}_{secret}; only a hash of the secret is kept.';
COMMENT ON COLUMN public.api_keys.id IS 'Part of the key: a salted hash cannot be looked up.';
COMMENT ON COLUMN public.api_keys.name IS 'What the key is for, for people.';
COMMENT ON COLUMN public.api_keys.key_hash IS 'The secret''s hash: argon2 as a PHC string, or bcrypt.';
COMMENT ON COLUMN public.api_keys.scopes IS 'What the key may do: jobs:read, jobs:write, admin, between spaces or commas. Other words grant nothing.';
COMMENT ON COLUMN public.api_keys.rate_limit_per_min IS 'Requests a minute, on average and at once; null is 60.';
COMMENT ON COLUMN public.api_keys.created_at IS 'When the key was made.';
COMMENT ON COLUMN public.api_keys.revoked_at IS 'From when on the key is refused; in the future while a rotation''s grace lasts.';
COMMENT ON COLUMN public.api_keys.last_used_at IS 'When a request was let through with it, to the minute.';
COMMENT ON COLUMN public.api_keys.rate_full_at IS 'From when on the whole rate is free again: GCRA''s theoretical arrival time.';
COMMENT ON INDEX  public.idx_api_keys_active IS 'The seed''s; keys are looked up by their id.';

DO $$
DECLARE
    roles text;
BEGIN
    SELECT concat_ws(', ', 'PUBLIC', string_agg(quote_ident(rolname), ', ')) INTO roles
      FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated');
    ALTER TABLE public.api_keys ENABLE ROW LEVEL SECURITY;
    EXECUTE format('REVOKE ALL ON TABLE public.api_keys FROM %s', roles);
END
$$;
