/**
 * node dist/check/main.js structure    compares schema.ts with the database
 * node dist/check/main.js client       works as a client on a migrated database without jobs
 *
 * The database is DATABASE_URL. Ends with 1 and says why where something is not as it should be. `client`
 * prints the ids of two jobs that it leaves: a walked one, and a queued one.
 */
import { drizzle } from 'drizzle-orm/node-postgres';
import pg from 'pg';

import { jobsRepo } from '../example/jobs.js';
import * as client from './client.js';
import { checkStructure } from './structure.js';
import * as worker from './worker.js';

const structure = async (pool: pg.Pool): Promise<void> => {
    const connection = await pool.connect();
    try {
        const { problems, compared } = await checkStructure(connection);
        for (const problem of problems) console.error(problem);
        if (problems.length > 0) {
            throw new Error(`schema.ts does not fit the database; differences: ${problems.length}`);
        }
        console.log(compared.join(' '));
    } finally {
        connection.release();
    }
};

const walk = async (pool: pg.Pool): Promise<void> => {
    const db = drizzle(pool);
    client.nameObjects();
    await client.create(db);
    await client.addEvents(db);
    const walked = await client.walk(db);
    await client.refuseIllegal(db);
    await client.listPages(db);
    await client.remove(db);
    await client.readInstallation(db);
    await worker.claimInOrder(db);
    await worker.beatAndFinish(db);
    await worker.outlive(db);
    await worker.useUpAttempts(db);
    const left = client.unwrap(
        await jobsRepo(db).create({ ...client.upload(), shard: 7, startMs: 3_250, endMs: 8_500 }),
    );
    console.log(JSON.stringify({ walked, left: left.id }));
};

const [command] = process.argv.slice(2);
const run = command === 'structure' ? structure : command === 'client' ? walk : undefined;
const { DATABASE_URL: connectionString } = process.env;
if (run === undefined || connectionString === undefined) {
    console.error('usage: DATABASE_URL=… node main.js structure|client');
    process.exit(2);
}
const pool = new pg.Pool({ connectionString, max: 4 });
try {
    await run(pool);
} catch (error) {
    console.error(error);
    process.exitCode = 1;
} finally {
    await pool.end();
}
