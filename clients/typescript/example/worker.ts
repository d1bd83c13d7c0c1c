/**
 * A worker in TypeScript that keeps the rules of the lease: it claims what nobody else takes, beats, and writes
 * nothing once its lease is another's.
 */
import { and, asc, eq, inArray, lte, sql } from 'drizzle-orm';
import type { NodePgDatabase } from 'drizzle-orm/node-postgres';

import { jobs, storageKeys, type Job } from '../schema.js';

/** Three missed beats of 15 seconds, and the job is another's. */
export const LEASE_SECONDS = 60;

const leaseEnd = sql`now() + make_interval(secs => ${LEASE_SECONDS})`;

/** The condition of every write of a worker. No row matches: the lease is lost, and the work is void. */
const held = (job: Pick<Job, 'id' | 'lease' | 'workerId'>) => {
    if (job.workerId === null) throw new TypeError('job.workerId: only a claimed job has one');
    return and(
        eq(jobs.id, job.id),
        eq(jobs.lease, job.lease),
        eq(jobs.workerId, job.workerId),
        eq(jobs.status, 'processing'),
    );
};

/** Takes up to `limit` jobs of a shard. The trigger raises `lease` and `attempts`, and writes the event. */
export const claim = (db: NodePgDatabase, workerId: string, limit: number, shard = 0): Promise<Job[]> =>
    db.transaction(async (tx) => {
        // Two statements: a subquery that locks may be run more than once by an UPDATE around it.
        const picked = await tx
            .select({ id: jobs.id })
            .from(jobs)
            .where(
                and(
                    // Word for word the condition of idx_jobs_claim, so that the planner knows that it will do.
                    sql`${jobs.status} = 'queued' AND (${jobs.sourceKey} IS NOT NULL OR ${jobs.sourceUrl} IS NOT NULL)`,
                    eq(jobs.shard, shard),
                    lte(jobs.runAt, sql`now()`),
                ),
            )
            .orderBy(asc(jobs.priorityRank), asc(jobs.runAt), asc(jobs.id))
            .limit(limit)
            .for('no key update', { skipLocked: true });
        if (picked.length === 0) return [];
        const ids = picked.map((row) => row.id);
        return tx
            .update(jobs)
            .set({ status: 'processing', workerId, leaseExpiresAt: leaseEnd })
            .where(inArray(jobs.id, ids))
            .returning();
    });

export type Verdict = 'go on' | 'cancel requested' | 'lost';

/** To be called every 15 seconds. Touches no indexed column, which keeps it cheap. */
export const heartbeat = async (db: NodePgDatabase, job: Job, progress?: number): Promise<Verdict> => {
    const [row] = await db
        .update(jobs)
        .set({ lastHeartbeatAt: sql`now()`, leaseExpiresAt: leaseEnd, ...(progress !== undefined && { progress }) })
        .where(held(job))
        .returning({ cancelRequestedAt: jobs.cancelRequestedAt });
    if (row === undefined) return 'lost';
    return row.cancelRequestedAt === null ? 'go on' : 'cancel requested';
};

/** After the upload to `storageKeys.resultVideo(job.id, job.lease)`. False: the lease is lost. */
export const finish = async (db: NodePgDatabase, job: Job, keepDays = 7): Promise<boolean> => {
    const rows = await db
        .update(jobs)
        .set({
            status: 'done',
            resultVideoKey: storageKeys.resultVideo(job.id, job.lease),
            ...(job.withSubtitles && { resultSrtKey: storageKeys.resultSrt(job.id, job.lease) }),
            expiresAt: sql`coalesce(${jobs.expiresAt}, now() + make_interval(days => ${keepDays}))`,
        })
        .where(held(job))
        .returning({ id: jobs.id });
    return rows.length === 1;
};

/** Queues the job again, or fails it where its attempts are used up. False: the lease is lost. */
export const fail = async (db: NodePgDatabase, job: Job, code: string, backoffSeconds: number): Promise<boolean> => {
    const again = job.attempts < job.maxAttempts;
    const rows = await db
        .update(jobs)
        .set(
            again
                ? { status: 'queued', runAt: sql`now() + make_interval(secs => ${backoffSeconds})` }
                : { status: 'failed', errorCode: code },
        )
        .where(held(job))
        .returning({ id: jobs.id });
    return rows.length === 1;
};
