/**
 * clipbase's tables for Drizzle: the seed's schema with the columns that clipbase adds, under the same names.
 *
 * For typed reads and writes only. The tables are made and changed by `clipbase migrate`: their triggers, check
 * constraints and access rules stand in no Drizzle schema, so `drizzle-kit push` would take them away.
 * docs/TYPESCRIPT.md has the whole contract.
 *
 * Columns marked "counted" or "set by the database" are filled by triggers. Writing them takes over a
 * duty (an event with the next number); `NewJob`, `JobPatch` and `NewJobEvent` leave them out.
 */
import { sql } from 'drizzle-orm';
import {
    bigint,
    boolean,
    customType,
    foreignKey,
    index,
    integer,
    jsonb,
    pgEnum,
    pgTable,
    pgView,
    primaryKey,
    smallint,
    text,
    timestamp,
    uuid,
    varchar,
} from 'drizzle-orm/pg-core';

// Words ---------------------------------------------------------------------------------------------

export const jobStatus = pgEnum('job_status', ['queued', 'processing', 'done', 'failed']);

export type JobStatus = (typeof jobStatus.enumValues)[number];
export type Priority = 'high' | 'normal' | 'low';
export type SourceType = 'upload' | 'youtube';

/** Every pair that a trigger lets pass. Any other is refused with SQLSTATE `CB002`. */
export const legalEdges = {
    queued: ['processing', 'failed'],
    processing: ['done', 'failed', 'queued'],
    done: [],
    failed: ['queued'],
} as const satisfies Record<JobStatus, readonly JobStatus[]>;

// Jobs ----------------------------------------------------------------------------------------------

const time = (name: string) => timestamp(name, { withTimezone: true });

export const jobs = pgTable(
    'jobs',
    {
        id: uuid('id').primaryKey().defaultRandom(),
        /** Write it along `legalEdges` only. The trigger completes the row and writes the event. */
        status: jobStatus('status').notNull().default('queued'),
        priority: varchar('priority', { length: 16 }).$type<Priority>().notNull().default('normal'),
        shard: integer('shard').notNull().default(0),
        sourceType: varchar('source_type', { length: 16 }).$type<SourceType>().notNull(),
        /** An upload's: `storageKeys.source`. The job is not claimed before it is named. */
        sourceKey: varchar('source_key', { length: 512 }),
        sourceUrl: varchar('source_url', { length: 1024 }),
        /** Whole seconds. A change of these alone drops `startMs` and `endMs`. */
        startSec: integer('start_sec').notNull(),
        endSec: integer('end_sec').notNull(),
        withSubtitles: boolean('with_subtitles').notNull().default(false),
        burnSubtitles: boolean('burn_subtitles').notNull().default(false),
        subtitleLang: varchar('subtitle_lang', { length: 16 }).default('auto'),
        /** 0..100, of the current attempt. Not an event. */
        progress: integer('progress').notNull().default(0),
        /** Counted by the claim; set to 0 by a retry. */
        attempts: integer('attempts').notNull().default(0),
        /** Set by the claim; a worker writes it with every heartbeat. */
        lastHeartbeatAt: time('last_heartbeat_at'),
        /** The only key that a reader may follow. Written when the job becomes done, by whoever holds the lease. */
        resultVideoKey: varchar('result_video_key', { length: 512 }),
        resultSrtKey: varchar('result_srt_key', { length: 512 }),
        /** Written when the job becomes failed; cleared by a retry. */
        errorCode: varchar('error_code', { length: 64 }),
        errorMessage: text('error_message'),
        createdAt: time('created_at').defaultNow().notNull(),
        /** A trigger sets it only where it writes an event, so every update through Drizzle sets it too. */
        updatedAt: time('updated_at')
            .defaultNow()
            .notNull()
            .$onUpdate(() => sql`now()`),
        /** Null keeps the job. The database knows no retention: whoever ends a job by SQL sets this. */
        expiresAt: time('expires_at'),

        // Added by clipbase.

        /** The fencing token: counted by the claim, never by hand. Every later write of a worker repeats it. */
        lease: integer('lease').notNull().default(0),
        /** Set by the claim to 60 seconds from now unless it names a time; pushed ahead by heartbeats. */
        leaseExpiresAt: time('lease_expires_at'),
        /** The worker that holds the lease: one random id a process. Written by the claim. */
        workerId: uuid('worker_id'),
        /** Not claimed before. Write it with a retry to back off. */
        runAt: time('run_at').notNull().defaultNow(),
        /** 1..100. The reaper obeys it; a worker that queues its own failure again compares `attempts` first. */
        maxAttempts: integer('max_attempts').notNull().default(3),
        /** Write `now()` to cancel a job that is processing. */
        cancelRequestedAt: time('cancel_requested_at'),
        /** Set by the database. */
        startedAt: time('started_at'),
        /** Set by the database. */
        finishedAt: time('finished_at'),
        /** Number of the newest event: counted, never written by hand. */
        eventSeq: integer('event_seq').notNull().default(0),
        /** The exact range; both or neither, and `startSec`, `endSec` are these rounded outwards. */
        startMs: bigint('start_ms', { mode: 'number' }),
        endMs: bigint('end_ms', { mode: 'number' }),
        /** Generated: 0 high, 1 normal, 2 low. Sort by this one. */
        priorityRank: smallint('priority_rank')
            .notNull()
            .generatedAlwaysAs(sql`CASE priority WHEN 'high' THEN 0 WHEN 'normal' THEN 1 ELSE 2 END`),
        /** When an ended job's source may go while the job stays; null keeps it. Cleared by a retry. */
        sourceExpiresAt: time('source_expires_at'),
        /** Set by clipbase's clean-up: from then on a retry is refused, until another source is named. */
        sourceDeletedAt: time('source_deleted_at'),
    },
    (t) => [
        index('idx_jobs_status_created_at').on(t.status, t.createdAt, t.id),
        index('idx_jobs_status_finished_at')
            .on(t.status, t.finishedAt)
            .where(sql`finished_at IS NOT NULL`),
        index('idx_jobs_expires_at')
            .on(t.expiresAt)
            .where(sql`expires_at IS NOT NULL`),
        index('idx_jobs_claim')
            .on(t.shard, t.priorityRank, t.runAt, t.id)
            .where(sql`status = 'queued' AND (source_key IS NOT NULL OR source_url IS NOT NULL)`),
        index('idx_jobs_source_expires_at')
            .on(t.sourceExpiresAt)
            .where(sql`source_expires_at IS NOT NULL`),
    ],
).enableRLS();

export type Job = typeof jobs.$inferSelect;
export type InsertJob = typeof jobs.$inferInsert;

/** What a new job may say. With anything else it is refused: `CB003`. */
export type NewJob = Pick<
    InsertJob,
    | 'id'
    | 'priority'
    | 'shard'
    | 'sourceType'
    | 'sourceKey'
    | 'sourceUrl'
    | 'startSec'
    | 'endSec'
    | 'startMs'
    | 'endMs'
    | 'withSubtitles'
    | 'burnSubtitles'
    | 'subtitleLang'
    | 'runAt'
    | 'maxAttempts'
    | 'expiresAt'
>;

/** What may change without a transition. The rest moves with the status, or is the database's. */
export type JobPatch = Partial<Omit<NewJob, 'id' | 'sourceType'>> & {
    progress?: number;
    cancelRequestedAt?: Date;
    sourceExpiresAt?: Date | null;
};

// Events --------------------------------------------------------------------------------------------

/** What a transition changed of the fields that events account for. Folding a job's sets gives its row. */
export interface EventSet {
    status?: JobStatus;
    lease?: number;
    attempts?: number;
    worker_id?: string | null;
    error_code?: string | null;
    /** The first 2000 characters. */
    error_message?: string | null;
    result_video_key?: string | null;
    result_srt_key?: string | null;
    cancel_requested?: boolean;
    source_deleted?: boolean;
}

/** What the database and clipbase write into an event's `data`, beside the caller's own keys. */
export interface JobEventData {
    /** Who: `sql` is a client like this one; an operator's name may stand here too. */
    by?: 'client' | 'worker' | 'reaper' | 'operator' | 'sql' | 'migration' | (string & {});
    /** The state before a transition. */
    from?: JobStatus;
    /** Reserved: an event that is inserted with it is refused with `CB005`. */
    set?: EventSet;
    /** `updated` through clipbase: what the caller asked for. */
    patch?: Record<string, unknown>;
    /** Why a worker gave a job back or failed it, as a code and in a sentence. */
    cause?: string;
    reason?: string;
    /** `assumed`: a job was set to done without a key, and is taken to lie under the seed's. */
    result_video_key?: 'assumed';
    [key: string]: unknown;
}

/** The types that clipbase and its triggers write. A caller's own is any other word of up to 64 characters. */
export const eventTypes = [
    'adopted',
    'created',
    'claimed',
    'finished',
    'failed',
    'requeued',
    'released',
    'canceled',
    'cancel_requested',
    'retried',
    'updated',
] as const;

export type EventType = (typeof eventTypes)[number] | (string & {});

/** Append-only: UPDATE, DELETE and TRUNCATE are refused with `CB005`. Events go with their job. */
export const jobEvents = pgTable(
    'job_events',
    {
        /** Unique by chance, and without an index: the key is `(jobId, seq)`. */
        id: uuid('id').notNull().defaultRandom(),
        jobId: uuid('job_id').notNull(),
        /** When the writing transaction began. Sort by `seq`, not by this. */
        ts: time('ts').defaultNow().notNull(),
        type: varchar('type', { length: 64 }).$type<EventType>().notNull(),
        /** At most 32 KiB. */
        data: jsonb('data').$type<JobEventData>(),
        /** 1..n within the job, without gaps: counted by a trigger where nothing is given, as here. */
        seq: integer('seq')
            .notNull()
            .$defaultFn(() => sql`default`),
    },
    (t) => [
        primaryKey({ name: 'job_events_pkey', columns: [t.jobId, t.seq] }),
        foreignKey({
            name: 'job_events_job_id_jobs_id_fk',
            columns: [t.jobId],
            foreignColumns: [jobs.id],
        }).onDelete('cascade'),
        index('idx_job_events_job_id_ts').on(t.jobId, t.ts),
    ],
).enableRLS();

export type JobEvent = typeof jobEvents.$inferSelect;

/** An event of the caller's own. */
export interface NewJobEvent {
    jobId: string;
    type: EventType;
    data?: Record<string, unknown> & { set?: never };
}

// What stands beside the jobs -----------------------------------------------------------------------

const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' });

/** Which job a repeated request stands for. Written by clipbase's `create_once`; read it if you like. */
export const jobIdempotency = pgTable(
    'job_idempotency',
    {
        scope: varchar('scope', { length: 128 }).notNull(),
        key: varchar('key', { length: 255 }).notNull(),
        /** SHA-256 of the request, in clipbase's own form of it. */
        fingerprint: bytea('fingerprint').notNull(),
        jobId: uuid('job_id').notNull(),
        expiresAt: time('expires_at').notNull(),
    },
    (t) => [
        primaryKey({ name: 'job_idempotency_pkey', columns: [t.scope, t.key] }),
        foreignKey({
            name: 'job_idempotency_job_id_fkey',
            columns: [t.jobId],
            foreignColumns: [jobs.id],
        }).onDelete('cascade'),
        index('idx_job_idempotency_job_id').on(t.jobId),
        index('idx_job_idempotency_expires_at').on(t.expiresAt),
    ],
).enableRLS();

/**
 * Objects that no row owns any more. Filled by a trigger when a job is deleted, emptied by clipbase's clean-up.
 * The one thing to write here: an upload is announced before its job exists, with the reason
 * `upload_unused` and a `nextAttemptAt` some hours ahead, so that it goes if the job never comes.
 */
export const storageDeletions = pgTable(
    'storage_deletions',
    {
        /** Bucket first, as in `storageKeys`. */
        objectKey: varchar('object_key', { length: 512 }).primaryKey(),
        /** Null for an object of no job. */
        jobId: uuid('job_id'),
        reason: varchar('reason', { length: 32 })
            .$type<'job_deleted' | 'upload_unused' | 'source_expired' | 'unowned'>()
            .notNull(),
        attempts: integer('attempts').notNull().default(0),
        lastErrorCode: varchar('last_error_code', { length: 64 }),
        nextAttemptAt: time('next_attempt_at').notNull().defaultNow(),
        createdAt: time('created_at').notNull().defaultNow(),
        /** The end of a link with which the object can still be stored: it is not removed before. */
        writableUntil: time('writable_until'),
        /** Generated: sources, results or other. */
        bucket: text('bucket')
            .notNull()
            .generatedAlwaysAs(
                sql`CASE split_part(object_key, '/', 1) WHEN 'sources' THEN 'sources' WHEN 'results' THEN 'results' ELSE 'other' END`,
            ),
    },
    (t) => [index('idx_storage_deletions_bucket_next_attempt_at').on(t.bucket, t.nextAttemptAt)],
).enableRLS();

/** Which installation this is. A table; a view here, so that an insert or update does not compile. */
export const clipbaseInstallation = pgView('clipbase_installation', {
    singleton: boolean('singleton').notNull().default(true),
    id: uuid('id').notNull().defaultRandom(),
    databaseIdentity: varchar('database_identity', { length: 128 }),
    createdAt: time('created_at').notNull().defaultNow(),
    reconcileDueAt: time('reconcile_due_at').notNull().defaultNow(),
}).existing();

/** Optional, as in the seed: there where clipbase's set of migrations for API keys was asked for. */
export const apiKeys = pgTable(
    'api_keys',
    {
        id: uuid('id').primaryKey().defaultRandom(),
        name: varchar('name', { length: 128 }).notNull(),
        /** Of the secret alone, by `Bun.password.hash`; a key reads `cb_{id without dashes}_{secret}`. */
        keyHash: varchar('key_hash', { length: 128 }).notNull(),
        scopes: varchar('scopes', { length: 256 }).default(''),
        rateLimitPerMin: integer('rate_limit_per_min').default(60),
        createdAt: time('created_at').defaultNow().notNull(),
        revokedAt: time('revoked_at'),
        /** Written by clipbase: to the minute. */
        lastUsedAt: time('last_used_at'),
        /** Written by clipbase: where the rate stands. */
        rateFullAt: time('rate_full_at'),
    },
    (t) => [index('idx_api_keys_active').on(t.keyHash, t.revokedAt)],
).enableRLS();

// Storage keys --------------------------------------------------------------------------------------

/**
 * The keys that rows hold: the bucket's name first. The first lease writes the seed's own result keys; lease
 * n > 1 writes below `results/{jobId}/{n}/`, so that a worker that was thought dead replaces nothing.
 */
export const storageKeys = {
    source: (jobId: string, ext: string): string => {
        if (!/^[A-Za-z0-9]{1,16}$/.test(ext)) {
            throw new RangeError('ext must be 1 to 16 letters or digits, as in mp4');
        }
        return `sources/${jobId}/source.${ext.toLowerCase()}`;
    },
    resultVideo: (jobId: string, lease = 1): string => `${resultFolder(jobId, lease)}/clip.mp4`,
    resultSrt: (jobId: string, lease = 1): string => `${resultFolder(jobId, lease)}/clip.srt`,
};

const resultFolder = (jobId: string, lease: number): string =>
    lease > 1 ? `results/${jobId}/${lease}` : `results/${jobId}`;

/** Splits a key for Supabase's client: `supabase.storage.from(bucket).upload(path, …)`. */
export const splitKey = (key: string): { bucket: 'sources' | 'results'; path: string } => {
    const [, bucket, path] = /^(sources|results)\/(.+)$/.exec(key) ?? [];
    if ((bucket !== 'sources' && bucket !== 'results') || path === undefined) {
        throw new RangeError('a storage key starts with sources/ or results/');
    }
    return { bucket, path };
};
