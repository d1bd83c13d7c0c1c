/** Workers in TypeScript beside each other: none takes another's job, and a lost lease writes nothing. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

import { eq, sql } from 'drizzle-orm';
import type { NodePgDatabase } from 'drizzle-orm/node-postgres';

import { jobEventsRepo, jobsRepo } from '../example/jobs.js';
import { claim, fail, finish, heartbeat } from '../example/worker.js';
import { jobs, storageKeys, type Job } from '../schema.js';
import { unwrap, upload } from './client.js';

const only = (claimed: Job[]): Job => {
    assert.equal(claimed.length, 1);
    return claimed[0] as Job;
};

/** A shard of its own keeps a case apart from the others. */
let shard = 100;
const place = () => (shard += 1);

export const claimInOrder = async (db: NodePgDatabase): Promise<void> => {
    const at = place();
    const add = (input: object) => db.insert(jobs).values({ ...upload(), shard: at, ...input }).returning();
    const [low] = await add({ priority: 'low' });
    const [normal] = await add({});
    const [high] = await add({ priority: 'high' });
    await add({ runAt: sql`now() + interval '1 hour'` });
    await add({ sourceKey: null });
    const claims = await Promise.all([1, 1, 1].map((limit) => claim(db, randomUUID(), limit, at)));
    assert.deepEqual(claims.flat().map((job) => job.id).sort(), [low?.id, normal?.id, high?.id].sort());
    assert.deepEqual(await claim(db, randomUUID(), 10, at), []);
};

export const beatAndFinish = async (db: NodePgDatabase): Promise<void> => {
    const [at, worker] = [place(), randomUUID()];
    const { id } = unwrap(await jobsRepo(db).create({ ...upload(), shard: at, withSubtitles: true }));
    const job = only(await claim(db, worker, 5, at));
    assert.deepEqual([job.lease, job.attempts, job.workerId], [1, 1, worker]);
    assert.equal(await heartbeat(db, job, 40), 'go on');
    unwrap(await jobsRepo(db).update(id, { cancelRequestedAt: new Date() }));
    assert.equal(await heartbeat(db, job), 'cancel requested');
    assert.equal(await finish(db, job), true, 'it was faster than the cancel');
    const done = unwrap(await jobsRepo(db).get(id));
    assert.deepEqual(
        [done?.status, done?.resultVideoKey, done?.resultSrtKey],
        ['done', storageKeys.resultVideo(id), storageKeys.resultSrt(id)],
    );
    assert.ok(done?.expiresAt, 'the retention is the worker\'s to set');
    assert.equal(await finish(db, job), false, 'a second finish finds no lease');
};

export const outlive = async (db: NodePgDatabase): Promise<void> => {
    const at = place();
    const { id } = unwrap(await jobsRepo(db).create({ ...upload(), shard: at }));
    const zombie = only(await claim(db, randomUUID(), 1, at));
    unwrap(await jobsRepo(db).transition(id, 'queued'));
    const successor = only(await claim(db, randomUUID(), 1, at));
    const before = unwrap(await jobsRepo(db).get(id));
    assert.equal(await heartbeat(db, zombie, 90), 'lost');
    assert.equal(await finish(db, zombie), false);
    assert.equal(await fail(db, zombie, 'E_FFMPEG', 0), false);
    assert.deepEqual(unwrap(await jobsRepo(db).get(id)), before, 'the zombie wrote nothing');
    assert.equal(await finish(db, successor), true);
    const done = unwrap(await jobsRepo(db).get(id));
    assert.equal(done?.resultVideoKey, `results/${id}/2/clip.mp4`);
};

export const useUpAttempts = async (db: NodePgDatabase): Promise<void> => {
    const at = place();
    const { id } = unwrap(await jobsRepo(db).create({ ...upload(), shard: at, maxAttempts: 2 }));
    assert.equal(await fail(db, only(await claim(db, randomUUID(), 1, at)), 'E_FFMPEG', 3600), true);
    assert.deepEqual(await claim(db, randomUUID(), 1, at), [], 'it backs off');
    await db.update(jobs).set({ runAt: sql`now()` }).where(eq(jobs.id, id));
    assert.equal(await fail(db, only(await claim(db, randomUUID(), 1, at)), 'E_FFMPEG', 3600), true);
    const job = unwrap(await jobsRepo(db).get(id));
    assert.deepEqual([job?.status, job?.errorCode, job?.attempts], ['failed', 'E_FFMPEG', 2]);
    const types = unwrap(await jobEventsRepo(db).list(id)).map((event) => event.type);
    assert.deepEqual(types, ['created', 'claimed', 'requeued', 'claimed', 'failed']);
};
