/** The seed's repositories as a TypeScript team writes them. docs/TYPESCRIPT.md says why each line is as it is. */
import { and, asc, desc, eq, sql } from 'drizzle-orm';
import type { NodePgDatabase } from 'drizzle-orm/node-postgres';

import { refusalOf } from '../errors.js';
import {
    jobEvents,
    jobs,
    type Job,
    type JobEvent,
    type JobPatch,
    type JobStatus,
    type NewJob,
    type NewJobEvent,
} from '../schema.js';

export interface ServiceResult<T> {
    ok: boolean;
    data?: T;
    code?: string;
    message?: string;
}

/** What may be written together with the status. */
export type TransitionPatch = JobPatch &
    Partial<Pick<Job, 'resultVideoKey' | 'resultSrtKey' | 'errorCode' | 'errorMessage'>>;

/** Where the next page starts. The time is text: a Date would lose its microseconds, and rows with them. */
export interface Cursor {
    createdAt: string;
    id: string;
}

export interface Page {
    jobs: Job[];
    next?: Cursor;
}

const service = async <T>(work: () => Promise<T | undefined>): Promise<ServiceResult<T>> => {
    try {
        const data = await work();
        return data === undefined
            ? { ok: false, code: 'NOT_FOUND', message: 'there is no such job' }
            : { ok: true, data };
    } catch (error) {
        const refusal = refusalOf(error);
        // Anything else is the caller's to log; its message may hold the query and its parameters.
        if (refusal === undefined) throw error;
        return { ok: false, code: refusal.code, message: refusal.message };
    }
};

export const jobsRepo = (db: NodePgDatabase) => ({
    create: (input: NewJob) =>
        service(async () => (await db.insert(jobs).values(input).returning())[0]),

    get: async (id: string): Promise<ServiceResult<Job | null>> => {
        const [job] = await db.select().from(jobs).where(eq(jobs.id, id));
        return { ok: true, data: job ?? null };
    },

    update: (id: string, patch: JobPatch) =>
        service(async () => (await db.update(jobs).set(patch).where(eq(jobs.id, id)).returning())[0]),

    /** The seed's transaction. The trigger has written the transition's own event before ours is numbered. */
    transition: (id: string, next: JobStatus, patch: TransitionPatch = {}, event?: Omit<NewJobEvent, 'jobId'>) =>
        service(() =>
            db.transaction(async (tx) => {
                const [job] = await tx
                    .update(jobs)
                    .set({ ...patch, status: next, updatedAt: sql`now()` })
                    .where(eq(jobs.id, id))
                    .returning();
                if (job === undefined) return undefined;
                await tx
                    .insert(jobEvents)
                    .values({ jobId: id, ...(event ?? { type: 'transition', data: { next } }) });
                return job;
            }),
        ),

    /** Newest first. A page costs the same wherever it lies: the index is read from the cursor on. */
    listByStatus: async (status: JobStatus, limit: number, after?: Cursor): Promise<ServiceResult<Page>> => {
        const rows = await db
            .select({ job: jobs, createdAt: sql<string>`${jobs.createdAt}::text` })
            .from(jobs)
            .where(
                and(
                    eq(jobs.status, status),
                    after && sql`(${jobs.createdAt}, ${jobs.id}) < (${after.createdAt}::timestamptz, ${after.id}::uuid)`,
                ),
            )
            .orderBy(desc(jobs.createdAt), desc(jobs.id))
            .limit(limit + 1);
        const page = rows.slice(0, limit);
        const last = page.at(-1);
        return {
            ok: true,
            data: {
                jobs: page.map((row) => row.job),
                ...(rows.length > limit && last && { next: { createdAt: last.createdAt, id: last.job.id } }),
            },
        };
    },

    /** The events go along, and a trigger gives the objects to the clean-up. */
    remove: (id: string) =>
        service(async () => (await db.delete(jobs).where(eq(jobs.id, id)).returning())[0]),
});

export const jobEventsRepo = (db: NodePgDatabase) => ({
    add: (event: NewJobEvent) =>
        service(async () => (await db.insert(jobEvents).values(event).returning())[0]),

    list: async (jobId: string, limit = 1000): Promise<ServiceResult<JobEvent[]>> => ({
        ok: true,
        data: await db
            .select()
            .from(jobEvents)
            .where(eq(jobEvents.jobId, jobId))
            .orderBy(asc(jobEvents.seq))
            .limit(limit),
    }),
});
