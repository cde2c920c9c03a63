import type { EnqueueOptions } from './client.js';
import { RondoApiError } from './errors.js';
import { wait } from './transport.js';
import type { JobList, JobName, PayloadAndOptions, PayloadOf, RunOptions } from './typed.js';

/** The table that runs wait in until the transaction that asked for them is committed. PostgreSQL 13 or newer. */
export const outboxTable = `
CREATE TABLE IF NOT EXISTS rondo_outbox (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  job text NOT NULL,
  payload jsonb NOT NULL DEFAULT '{}',
  options jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  due_at timestamptz NOT NULL DEFAULT now(),
  refused text
);
CREATE INDEX IF NOT EXISTS rondo_outbox_due ON rondo_outbox (due_at) WHERE refused IS NULL;
`;

/** A statement and its values, as `pg` takes them. */
export interface Statement {
  readonly text: string;
  readonly values: readonly string[];
}

/** Writes runs beside the data that they are about: the statement belongs into the same transaction. */
export interface Outbox<Jobs extends JobList = JobList> {
  insert<Name extends JobName<Jobs>>(
    job: Name,
    ...rest: PayloadAndOptions<PayloadOf<Jobs, Name>, RunOptions>
  ): Statement;
}

export function createOutbox<Jobs extends JobList = JobList>(): Outbox<Jobs> {
  return {
    insert: (job, ...[payload = {}, options = {}]) => ({
      text: 'INSERT INTO rondo_outbox (job, payload, options) VALUES ($1, $2::text::jsonb, $3::text::jsonb)',
      values: [job, JSON.stringify(payload), JSON.stringify(options)],
    }),
  };
}

/** Sends a statement to Postgres, each in a transaction of its own: `pool.query(text, values)` of `pg`. */
export type Query = (text: string, values: (string | number)[]) => Promise<{ readonly rows: readonly unknown[] }>;

export interface RelayInput {
  readonly query: Query;
  readonly client: { enqueue(job: string, payload: unknown, options: EnqueueOptions): Promise<unknown> };
  /** How many rows are taken at once; 100 unless told. */
  readonly batch?: number;
  /** How many are enqueued at a time; 10 unless told. */
  readonly concurrency?: number;
  /** After how long rows that a relay has taken, and died with, are another's, in ms; a minute unless told. */
  readonly leaseMs?: number;
  /** Told of each row that is not enqueued, and of each time that Postgres fails. */
  readonly onTrouble?: (trouble: RelayTrouble) => void;
}

export interface RelayTrouble {
  /** Of the row; null where Postgres failed. */
  readonly id: string | null;
  /** The row is set aside, with the reason in its `refused`. Else it is tried again. */
  readonly refused: boolean;
  readonly error: unknown;
}

/** How many rows became runs, were set aside, or are to be tried again. */
export interface Relayed {
  readonly enqueued: number;
  readonly refused: number;
  readonly kept: number;
}

/**
 * Makes each committed row of the outbox one run, and deletes it, until the signal aborts; what is under way then is
 * brought to its end. Any number of relays may run. One that is killed leaves rows that another takes after the lease:
 * the row's id is the idempotency key, so that the API knows the run which it has already, for 24 h.
 *
 * @param options.idleMs how long to wait where no row is due; a second unless told
 */
export async function relayOutbox(
  input: RelayInput & { readonly signal: AbortSignal; readonly idleMs?: number },
): Promise<void> {
  const { signal, idleMs = 1_000, onTrouble = () => {} } = input;
  let failures = 0;
  while (!signal.aborted) {
    const done = await relayOnce(input).catch((error: unknown) => onTrouble({ id: null, refused: false, error }));
    // One row that the API does not want yet keeps no other waiting: it waits by itself.
    const failed = !done || (done.kept > 0 && done.enqueued + done.refused === 0);
    failures = failed ? failures + 1 : 0;
    if (!failed && done.enqueued + done.refused > 0) continue;
    const pauseMs = failed ? Math.min(30_000, idleMs * 2 ** (failures - 1)) : idleMs;
    await wait(pauseMs * (0.75 + Math.random() / 2), signal).catch(() => {});
  }
}

/** Takes one batch of rows that are due, and enqueues them: what `relayOutbox` does again and again. */
export async function relayOnce(input: RelayInput): Promise<Relayed> {
  const { query, client, batch = 100, concurrency = 10, leaseMs = 60_000, onTrouble = () => {} } = input;
  const rows = (await query(takeSql, [batch, leaseMs / 1_000])).rows as readonly Row[];
  // All of a batch is done within the lease: else another relay would be at the same rows, in vain.
  const timeoutMs = Math.max(1, Math.floor((0.8 * leaseMs) / Math.ceil(batch / concurrency)));
  const done: string[] = [];
  const kept: string[] = [];
  let refused = 0;

  async function relay({ id, job, payload, options }: Row): Promise<void> {
    try {
      await client.enqueue(job, JSON.parse(payload), { ...JSON.parse(options), idempotencyKey: id, timeoutMs });
      done.push(id);
    } catch (error) {
      const isForGood = error instanceof RondoApiError && [400, 413, 415, 422].includes(error.status);
      onTrouble({ id, refused: isForGood, error });
      if (!isForGood) kept.push(id);
      else {
        await query(refuseSql, [id, `${error.code}: ${error.message}`]);
        refused++;
      }
    }
  }

  const waiting = [...rows];
  const lanes = Array.from({ length: concurrency }, async () => {
    for (let row = waiting.shift(); row; row = waiting.shift()) await relay(row);
  });
  await Promise.all(lanes);
  if (done.length > 0) await query(deleteSql, [JSON.stringify(done)]);
  if (kept.length > 0) await query(keepSql, [JSON.stringify(kept)]);
  return { enqueued: done.length, refused, kept: kept.length };
}

/** As text, since drivers read JSON each in its own way. */
interface Row {
  readonly id: string;
  readonly job: string;
  readonly payload: string;
  readonly options: string;
}

// No transaction is open while the API is asked: a row that is taken is due again when the lease is over.
const takeSql = `
UPDATE rondo_outbox SET due_at = now() + make_interval(secs => $2::float8)
WHERE id IN (
  SELECT id FROM rondo_outbox WHERE refused IS NULL AND due_at <= now()
  ORDER BY due_at LIMIT $1::int FOR UPDATE SKIP LOCKED)
RETURNING id::text, job, payload::text, options::text`;

const some = '(SELECT value::uuid FROM jsonb_array_elements_text($1::text::jsonb))';
const deleteSql = `DELETE FROM rondo_outbox WHERE id IN ${some} RETURNING id`;
// Behind what else is due, and the further the older it is: rows of a job that is disabled must not keep others waiting.
const keepSql = `
UPDATE rondo_outbox
SET due_at = now() + least(interval '1 minute', greatest(interval '1 second', (now() - created_at) / 4))
WHERE id IN ${some} RETURNING id`;
const refuseSql = 'UPDATE rondo_outbox SET refused = $2 WHERE id = $1::uuid RETURNING id';
