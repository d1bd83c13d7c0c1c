/** What a TypeScript team does with the shared database, against a migrated one without jobs. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

import { eq, sql } from 'drizzle-orm';
import type { NodePgDatabase } from 'drizzle-orm/node-postgres';

import { refusalOf, type Sqlstate } from '../errors.js';
import { jobEventsRepo, jobsRepo, type Cursor, type ServiceResult } from '../example/jobs.js';
import {
    clipbaseInstallation,
    jobEvents,
    jobs,
    jobStatus,
    legalEdges,
    splitKey,
    storageDeletions,
    storageKeys,
    type JobStatus,
    type NewJob,
    type NewJobEvent,
} from '../schema.js';

export const upload = (id: string = randomUUID()): NewJob & { id: string } => ({
    id,
    sourceType: 'upload',
    sourceKey: storageKeys.source(id, 'MP4'),
    startSec: 3,
    endSec: 9,
});

export const unwrap = <T>(result: ServiceResult<T>): T => {
    assert.ok(result.ok, `${result.code}: ${result.message}`);
    return result.data as T;
};

const refused = async (sqlstate: Sqlstate, work: PromiseLike<unknown>): Promise<void> => {
    const refusal = await Promise.resolve(work).then(() => undefined, refusalOf);
    assert.equal(refusal?.sqlstate, sqlstate);
    assert.ok(refusal.hint, 'says what to do');
};

type Jobs = ReturnType<typeof jobsRepo>;

/** Creates a job and walks it to a state. */
const jobIn = async (repo: Jobs, status: JobStatus): Promise<string> => {
    const { id } = unwrap(await repo.create(upload()));
    if (status !== 'queued') unwrap(await repo.transition(id, 'processing'));
    if (status === 'done' || status === 'failed') unwrap(await repo.transition(id, status));
    return id;
};

export const create = async (db: NodePgDatabase): Promise<void> => {
    const repo = jobsRepo(db);
    const created = unwrap(await repo.create({ ...upload(), priority: 'high', startMs: 3_000, endMs: 8_500 }));
    assert.deepEqual([created.status, created.priorityRank, created.subtitleLang], ['queued', 0, 'auto']);
    assert.ok(created.createdAt instanceof Date && created.runAt.getTime() === created.createdAt.getTime());
    const { id } = created;
    assert.equal(unwrap(await repo.get(id))?.eventSeq, 1, 'the created event is the database\'s');

    const patched = unwrap(await repo.update(id, { endSec: 12, progress: 1 }));
    assert.deepEqual([patched.startMs, patched.endMs], [null, null], 'other seconds drop the milliseconds');
    assert.ok(patched.updatedAt > created.updatedAt, '$onUpdate');
    assert.equal((await repo.update(randomUUID(), { progress: 1 })).code, 'NOT_FOUND');
    assert.equal(unwrap(await repo.get(randomUUID())), null);

    const early = db.insert(jobs).values({ ...upload(), status: 'processing' });
    await refused('CB003', early);
    await refused('CB004', db.update(jobs).set({ lease: 5 }).where(eq(jobs.id, id)));
};

export const addEvents = async (db: NodePgDatabase): Promise<void> => {
    const { id } = unwrap(await jobsRepo(db).create(upload()));
    const events = jobEventsRepo(db);
    const added = unwrap(await events.add({ jobId: id, type: 'thumbnail', data: { at: 4.5 } }));
    assert.deepEqual([added.seq, added.data], [2, { at: 4.5 }]);
    unwrap(await events.add({ jobId: id, type: 'note' }));
    const list = unwrap(await events.list(id));
    assert.deepEqual(list.map(({ seq, type }) => `${seq} ${type}`), ['1 created', '2 thumbnail', '3 note']);
    assert.deepEqual(list[0]?.data, { by: 'sql', set: { status: 'queued' } });

    // @ts-expect-error the key set is reserved
    const reserved: NewJobEvent = { jobId: id, type: 'mine', data: { set: {} } };
    await refused('CB005', db.insert(jobEvents).values(reserved));
    await refused('CB005', db.update(jobEvents).set({ type: 'other' }).where(eq(jobEvents.jobId, id)));
    await refused('CB005', db.delete(jobEvents).where(eq(jobEvents.jobId, id)));
    await refused('CB006', db.execute(sql`TRUNCATE ${jobs} CASCADE`));
};

/** The seed's own transaction, on every legal edge. */
export const walk = async (db: NodePgDatabase): Promise<string> => {
    const repo = jobsRepo(db);
    const { id } = unwrap(await repo.create(upload()));
    const path: JobStatus[] = ['processing', 'queued', 'failed', 'queued', 'processing', 'failed', 'queued', 'processing', 'done'];
    const walked = new Set<string>();
    let at: JobStatus = 'queued';
    for (const next of path) {
        assert.equal(unwrap(await repo.transition(id, next)).status, next);
        walked.add(`${at} ${next}`);
        at = next;
    }
    const legal = jobStatus.enumValues.flatMap((from) => legalEdges[from].map((to) => `${from} ${to}`));
    assert.deepEqual([...walked].sort(), legal.sort(), 'every edge is walked');

    const list = unwrap(await jobEventsRepo(db).list(id));
    const verbs = ['claimed', 'requeued', 'canceled', 'retried', 'claimed', 'failed', 'retried', 'claimed', 'finished'];
    assert.deepEqual(
        list.map(({ seq, type }) => `${seq} ${type}`),
        ['created', ...verbs.flatMap((verb) => [verb, 'transition'])].map((type, i) => `${i + 1} ${type}`),
    );
    assert.deepEqual(list.at(-1)?.data, { next: 'done' });
    assert.equal(list.at(-2)?.data?.result_video_key, 'assumed');
    const job = unwrap(await repo.get(id));
    assert.deepEqual(
        [job?.lease, job?.attempts, job?.progress, job?.resultVideoKey, job?.leaseExpiresAt],
        [3, 1, 100, storageKeys.resultVideo(id), null],
    );
    return id;
};

/** Every pair that is no edge is refused, and takes the event of the same transaction with it. */
export const refuseIllegal = async (db: NodePgDatabase): Promise<void> => {
    const repo = jobsRepo(db);
    for (const from of jobStatus.enumValues) {
        const illegal = jobStatus.enumValues.filter(
            (to) => to !== from && !(legalEdges[from] as readonly JobStatus[]).includes(to),
        );
        for (const to of illegal) {
            const id = await jobIn(repo, from);
            const before = unwrap(await repo.get(id));
            const result = await repo.transition(id, to);
            assert.deepEqual(
                [result.ok, result.code, result.message],
                [false, 'INVALID_TRANSITION', `a job cannot go from ${from} to ${to}`],
            );
            assert.deepEqual(unwrap(await repo.get(id)), before);
            await refused('CB002', db.update(jobs).set({ status: to }).where(eq(jobs.id, id)));
        }
    }
};

/** Pages without a gap or a repetition, though many rows have one time, with microseconds. */
export const listPages = async (db: NodePgDatabase): Promise<void> => {
    await db.delete(jobs).where(eq(jobs.status, 'failed'));
    const repo = jobsRepo(db);
    for (let batch = 0; batch < 3; batch += 1) {
        await db.transaction(async (tx) => {
            for (let n = 0; n < 8; n += 1) {
                const [job] = await tx.insert(jobs).values(upload()).returning();
                assert.ok(job);
                await tx.update(jobs).set({ status: 'failed', errorCode: 'E_TEST' }).where(eq(jobs.id, job.id));
            }
        });
    }
    const seen: string[] = [];
    let after: Cursor | undefined;
    do {
        const page: { jobs: { id: string }[]; next?: Cursor } = unwrap(await repo.listByStatus('failed', 7, after));
        seen.push(...page.jobs.map((job) => job.id));
        after = page.next;
    } while (after !== undefined);
    const all = await db
        .select({ id: jobs.id })
        .from(jobs)
        .where(eq(jobs.status, 'failed'))
        .orderBy(sql`created_at DESC, id DESC`);
    assert.equal(all.length, 24);
    assert.deepEqual(seen, all.map((job) => job.id));
};

/** The events go with their job; its objects go to the clean-up. */
export const remove = async (db: NodePgDatabase): Promise<void> => {
    const repo = jobsRepo(db);
    const id = await jobIn(repo, 'done');
    assert.equal(unwrap(await repo.remove(id)).id, id);
    assert.deepEqual(unwrap(await jobEventsRepo(db).list(id)), []);
    const owed = await db.select().from(storageDeletions).where(eq(storageDeletions.jobId, id));
    assert.deepEqual(
        owed.map((row) => `${row.reason} ${row.objectKey}`).sort(),
        [storageKeys.resultVideo(id), storageKeys.resultSrt(id), storageKeys.source(id, 'mp4')]
            .map((key) => `job_deleted ${key}`)
            .sort(),
    );
    await refused('CB006', db.execute(sql`TRUNCATE ${storageDeletions}`));
};

export const readInstallation = async (db: NodePgDatabase): Promise<void> => {
    assert.equal((await db.select().from(clipbaseInstallation)).length, 1);
    // @ts-expect-error read-only
    const write = () => db.insert(clipbaseInstallation);
    // @ts-expect-error the lease is the database's to count
    const lease: NewJob = { ...upload(), lease: 1 };
    assert.equal(typeof write, 'function');
    await refused('CB003', db.insert(jobs).values({ ...lease, id: randomUUID() }));
};

export const nameObjects = (): void => {
    assert.equal(storageKeys.source('j', 'MP4'), 'sources/j/source.mp4');
    assert.equal(storageKeys.resultVideo('j'), 'results/j/clip.mp4');
    assert.equal(storageKeys.resultSrt('j', 1), 'results/j/clip.srt');
    assert.equal(storageKeys.resultSrt('j', 2), 'results/j/2/clip.srt');
    assert.throws(() => storageKeys.source('j', 'mp4/../../x'), RangeError);
    assert.deepEqual(splitKey('sources/j/source.mp4'), { bucket: 'sources', path: 'j/source.mp4' });
    assert.throws(() => splitKey('j/source.mp4'), RangeError);
};
