/** What the database says when it refuses, as one type of error. */

/** The SQLSTATEs of clipbase's triggers, and the codes of docs/ERRORS.md that they stand for. */
export const refusals = {
    /** The state machine has no such edge. */
    CB002: 'INVALID_TRANSITION',
    /** A new job does not start queued, unclaimed and without results. */
    CB003: 'DB_CONFLICT',
    /** `lease` or `event_seq` is lowered or jumps. */
    CB004: 'DB_CONFLICT',
    /** An event is changed or deleted, or its data uses the reserved key `set`. */
    CB005: 'DB_CONFLICT',
    /** TRUNCATE of a table that knows who owns stored objects. */
    CB006: 'DB_CONFLICT',
    /** A caller adds an event to a job that has 10,000. */
    CB007: 'EVENT_LIMIT',
} as const;

export type Sqlstate = keyof typeof refusals;
export type Refusal = (typeof refusals)[Sqlstate];

/** A trigger of clipbase's has refused a statement. The message and the hint are fit to be shown. */
export class ClipbaseRefusal extends Error {
    override readonly name = 'ClipbaseRefusal';
    readonly code: Refusal;

    constructor(
        readonly sqlstate: Sqlstate,
        message: string,
        readonly hint: string | undefined,
        options?: ErrorOptions,
    ) {
        super(message, options);
        this.code = refusals[sqlstate];
    }
}

const isSqlstate = (value: unknown): value is Sqlstate => typeof value === 'string' && Object.hasOwn(refusals, value);

/**
 * Returns the refusal behind an error of Drizzle's or the driver's, or undefined where it is something else.
 * Drizzle wraps the driver's error as its cause, and repeats the query and its parameters in its own message.
 */
export const refusalOf = (error: unknown): ClipbaseRefusal | undefined => {
    for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth += 1) {
        if (at instanceof ClipbaseRefusal) return at;
        // Bun's driver has the SQLSTATE in errno, the others in code.
        const { code, errno, hint } = at as { code?: unknown; errno?: unknown; hint?: unknown };
        const sqlstate = [code, errno].find(isSqlstate);
        if (sqlstate !== undefined) {
            return new ClipbaseRefusal(sqlstate, at.message, typeof hint === 'string' ? hint : undefined, { cause: error });
        }
    }
    return undefined;
};
