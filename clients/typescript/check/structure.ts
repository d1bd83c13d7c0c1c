/** Compares schema.ts with the catalog of a database, so that neither changes without the other. */
import { is, SQL, type Column } from 'drizzle-orm';
import { getTableConfig, getViewConfig, PgColumn, PgTable, type PgView } from 'drizzle-orm/pg-core';
import type { ClientBase } from 'pg';

import * as schema from '../schema.js';

const tables: { relation: PgTable | PgView; isOptional?: true }[] = [
    { relation: schema.jobs },
    { relation: schema.jobEvents },
    { relation: schema.jobIdempotency },
    { relation: schema.storageDeletions },
    { relation: schema.clipbaseInstallation },
    { relation: schema.apiKeys, isOptional: true },
];

/** What is compared of a column, as text that reads the same from both sides. */
interface Shape {
    type: string;
    nullability: string;
    filled: string;
    /** The default or the generated value as the server prints it. */
    expression?: string;
}

interface Described {
    name: string;
    columns: Map<string, Shape>;
    /** Indexes, keys and whether rows are closed to whoever has no policy, by name. */
    keys: Map<string, string>;
}

const words = (shape: Shape) => `${shape.type} ${shape.nullability}, ${shape.filled}`;

// As the server prints expressions, less its casts, brackets and spaces.
const plain = (expression: string) =>
    expression
        .replace(/::(character varying|[a-z_]+)(\[\])?/g, '')
        .replace(/[\s()]+/g, '')
        .toLowerCase();

const sqlText = (value: SQL): string =>
    value.queryChunks
        .map((chunk) => {
            if (is(chunk, SQL)) return sqlText(chunk);
            const { value: parts } = chunk as { value?: unknown };
            if (!Array.isArray(parts)) throw new TypeError('schema.ts: an expression that is not plain text');
            return parts.join('');
        })
        .join('');

const literal = (value: unknown) => (is(value, SQL) ? sqlText(value) : typeof value === 'string' ? `'${value}'` : `${value}`);

const shapeHere = (column: Column): Shape => {
    const { generated, default: standard } = column;
    const expression = typeof generated?.as === 'function' ? generated.as() : generated?.as;
    return {
        type: (column as PgColumn).getSQLType(),
        nullability: column.notNull ? 'not null' : 'nullable',
        filled: generated
            ? `generated ${plain(literal(expression))}`
            : standard === undefined
              ? 'no default'
              : `default ${plain(literal(standard))}`,
    };
};

const columnsHere = (columns: Column[]) => new Map(columns.map((column) => [column.name, shapeHere(column)]));

const describeHere = (relation: PgTable | PgView): Described => {
    if (!is(relation, PgTable)) {
        const { name, selectedFields } = getViewConfig(relation);
        return { name, columns: columnsHere(Object.values(selectedFields) as Column[]), keys: new Map() };
    }
    const { name, columns, indexes, primaryKeys, foreignKeys, enableRLS } = getTableConfig(relation);
    const keys = new Map<string, string>();
    if (enableRLS) keys.set('row-level security', 'on');
    const names = (list: unknown[]) => list.map((column) => (column as PgColumn).name).join(', ');
    for (const column of columns) {
        if (column.primary) keys.set(`${name}_pkey`, `primary key (${column.name})`);
    }
    for (const key of primaryKeys) keys.set(key.getName(), `primary key (${names(key.columns)})`);
    for (const key of foreignKeys) {
        const { columns: from, foreignTable, foreignColumns } = key.reference();
        const to = getTableConfig(foreignTable as PgTable).name;
        keys.set(key.getName(), `foreign key (${names(from)}) to ${to} (${names(foreignColumns)}) on delete ${key.onDelete}`);
    }
    for (const { config } of indexes) {
        const where = config.where ? ` where ${plain(literal(config.where))}` : '';
        keys.set(config.name ?? '', `${config.unique ? 'unique ' : ''}index (${names(config.columns)})${where}`);
    }
    return { name, columns: columnsHere(columns), keys };
};

const COLUMNS = `
SELECT column_name, is_nullable, column_default, is_generated, generation_expression,
       CASE WHEN data_type = 'character varying' THEN 'varchar(' || character_maximum_length || ')'
            WHEN data_type = 'USER-DEFINED' THEN udt_name::text
            ELSE data_type END AS type
  FROM information_schema.columns
 WHERE table_schema = 'public' AND table_name = $1
 ORDER BY ordinal_position`;

const KEYS = `
SELECT con.conname AS name,
       CASE con.contype WHEN 'p' THEN 'primary key (' || list.names || ')'
            ELSE 'foreign key (' || list.names || ') to ' || con.confrelid::regclass || ' (' || other.names
                 || ') on delete ' || CASE con.confdeltype WHEN 'c' THEN 'cascade' ELSE con.confdeltype::text END
       END AS words
  FROM pg_constraint AS con
 CROSS JOIN LATERAL (
    SELECT string_agg(att.attname, ', ' ORDER BY key.place) AS names
      FROM unnest(con.conkey) WITH ORDINALITY AS key (number, place)
      JOIN pg_attribute AS att ON att.attrelid = con.conrelid AND att.attnum = key.number) AS list
 CROSS JOIN LATERAL (
    SELECT string_agg(att.attname, ', ' ORDER BY key.place) AS names
      FROM unnest(con.confkey) WITH ORDINALITY AS key (number, place)
      JOIN pg_attribute AS att ON att.attrelid = con.confrelid AND att.attnum = key.number) AS other
 WHERE con.conrelid = to_regclass('public.' || $1::text) AND con.contype IN ('p', 'f')
UNION ALL
SELECT class.relname, CASE WHEN ind.indisunique THEN 'unique ' ELSE '' END || 'index (' || list.names || ')'
       || coalesce(' where ' || pg_get_expr(ind.indpred, ind.indrelid), '')
  FROM pg_index AS ind
  JOIN pg_class AS class ON class.oid = ind.indexrelid
 CROSS JOIN LATERAL (
    SELECT string_agg(pg_get_indexdef(ind.indexrelid, place, true), ', ' ORDER BY place) AS names
      FROM generate_series(1, ind.indnkeyatts) AS place) AS list
 WHERE ind.indrelid = to_regclass('public.' || $1::text) AND NOT ind.indisprimary
UNION ALL
SELECT 'row-level security', 'on' FROM pg_class WHERE oid = to_regclass('public.' || $1::text) AND relrowsecurity`;

const describeThere = async (client: ClientBase, name: string): Promise<Described> => {
    const columns = new Map<string, Shape>();
    for (const row of (await client.query(COLUMNS, [name])).rows) {
        const isGenerated = row.is_generated === 'ALWAYS';
        const expression: string | null = isGenerated ? row.generation_expression : row.column_default;
        columns.set(row.column_name, {
            type: row.type,
            nullability: row.is_nullable === 'NO' ? 'not null' : 'nullable',
            filled: expression === null ? 'no default' : `${isGenerated ? 'generated' : 'default'} ${plain(expression)}`,
            ...(expression !== null && { expression }),
        });
    }
    const keys = new Map<string, string>();
    for (const row of (await client.query(KEYS, [name])).rows) {
        const [head, where] = String(row.words).split(' where ', 2);
        keys.set(row.name, where === undefined ? String(head) : `${head} where ${plain(where)}`);
    }
    return { name, columns, keys };
};

/** The line that schema.ts lacks. */
const lineFor = (name: string, { type, nullability, filled, expression }: Shape): string => {
    const property = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const [, length] = /^varchar\((\d+)\)$/.exec(type) ?? [];
    const base =
        type === 'timestamp with time zone'
            ? `time('${name}')`
            : length !== undefined
              ? `varchar('${name}', { length: ${length} })`
              : type === 'bigint'
                ? `bigint('${name}', { mode: 'number' })`
                : `${type}('${name}')`;
    const rest =
        expression === undefined
            ? ''
            : filled.startsWith('generated')
              ? `.generatedAlwaysAs(sql\`${expression}\`)`
              : `.default(sql\`${expression}\`)`;
    return `${property}: ${base}${nullability === 'not null' ? '.notNull()' : ''}${rest},`;
};

const compare = (here: Described, there: Described): string[] => {
    const problems: string[] = [];
    for (const [column, shape] of there.columns) {
        const ours = here.columns.get(column);
        if (ours === undefined) {
            problems.push(`${here.name}.${column} (${words(shape)}) is missing in schema.ts; add: ${lineFor(column, shape)}`);
        } else if (words(ours) !== words(shape)) {
            problems.push(`${here.name}.${column} is ${words(ours)} in schema.ts, and ${words(shape)} in the database`);
        }
    }
    for (const column of here.columns.keys()) {
        if (!there.columns.has(column)) problems.push(`${here.name}.${column} is in schema.ts, and not in the database`);
    }
    for (const name of new Set([...here.keys.keys(), ...there.keys.keys()])) {
        const [ours, theirs] = [here.keys.get(name), there.keys.get(name)];
        if (ours !== theirs) {
            problems.push(`${here.name}: ${name} is ${ours ?? 'missing'} in schema.ts, and ${theirs ?? 'missing'} in the database`);
        }
    }
    return problems;
};

const compareStatus = async (client: ClientBase): Promise<string[]> => {
    const { rows } = await client.query(
        `SELECT enumlabel::text AS word FROM pg_enum WHERE enumtypid = 'public.job_status'::regtype ORDER BY enumsortorder`,
    );
    const [ours, theirs] = [schema.jobStatus.enumValues.join(', '), rows.map((row) => row.word).join(', ')];
    return ours === theirs ? [] : [`job_status is ${ours} in schema.ts, and ${theirs} in the database`];
};

/** Returns what differs, one sentence each, and the names of the tables that were compared. */
export const checkStructure = async (client: ClientBase): Promise<{ problems: string[]; compared: string[] }> => {
    const problems = await compareStatus(client);
    const compared: string[] = [];
    for (const { relation, isOptional } of tables) {
        const here = describeHere(relation);
        const there = await describeThere(client, here.name);
        if (there.columns.size > 0) {
            // The installation is a view here, which has no keys to compare.
            problems.push(...compare(here, is(relation, PgTable) ? there : { ...there, keys: new Map() }));
            compared.push(here.name);
        } else if (!isOptional) {
            problems.push(`${here.name} is in schema.ts, and not in the database`);
        }
    }
    return { problems, compared };
};
