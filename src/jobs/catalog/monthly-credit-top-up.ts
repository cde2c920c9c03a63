import { z } from 'zod';
import { NonRetryableError } from '../../errors.js';
import type { Database } from '../database.js';
import { defineJob } from '../define-job.js';
import { firstOfMonth } from '../schedule.js';
import { localAt } from '../zone.js';

export interface CreditTopUpSettings {
  /** Where the tables of `rondo db migrate` are; the job is off without. */
  readonly database?: Database | null;
  /** The zone in which the month begins. */
  readonly timezone?: string;
  /** How many users a transaction credits at most. */
  readonly batchSize?: number;
  readonly now?: () => number;
}

interface Tier {
  readonly name: string;
  readonly monthly_credits: number;
}

/**
 * Brings the free credits of every user up to the limit of their tier, once a month. That it is once is the word of a
 * unique constraint, whatever runs twice, at once, or again after a crash: the row of an adjustment and the credits that
 * it tells of are one transaction.
 */
export function monthlyCreditTopUp({
  database,
  timezone = 'UTC',
  batchSize = 500,
  now = Date.now,
}: CreditTopUpSettings) {
  return defineJob({
    name: 'monthly-credit-top-up',
    description: 'Brings free credits up to the limit of each tier, once a month for each user',
    off: database ? null : 'DATABASE_URL is not set',
    payload: z.strictObject({
      /** Of a run that is no tick: the current one unless told. */
      month: z
        .string()
        .regex(/^[1-9]\d{3}-(0[1-9]|1[0-2])$/, { error: 'a month such as "2026-11"' })
        .optional(),
    }),
    schedules: [{ id: 'monthly-credit-top-up', cron: firstOfMonth(), timezone }],
    // Credits do not add up over months: after a long absence the latest month is all that is owed.
    misfire: 'run-once',
    overlap: 'wait',
    retry: { attempts: 8, delay: '30s', maxDelay: '1h' },
    timeout: '1h',
    async run({ payload, tick, run, signal, log, progress }) {
      if (!database) throw new NonRetryableError('DATABASE_URL is not set');
      const current = monthOf(now());
      // A tick that is late, caught up or backfilled is about the month that it is the first moment of.
      const month = payload.month ?? (tick ? monthOf(tick.time.getTime()) : current);
      if (payload.month && month > current) throw new NonRetryableError(`${month} has not begun in ${timezone}`);
      const total = { users: 0, credits: 0 };
      // Who has another tier meanwhile may have one that was passed already.
      for (let [pass, hasFound] = [1, true]; hasFound && pass <= mostPasses; pass++) {
        hasFound = false;
        for await (const { tier, users, credits } of creditAll(database, { month, batchSize, run: run.id, signal })) {
          hasFound = true;
          total.users += users;
          total.credits += credits;
          await progress({ month, tier, ...total });
        }
      }
      log.info({ month, ...total }, `credits of ${month} are topped up`);
      return { month, ...total };
    },
  });

  function monthOf(time: number): string {
    return new Date(localAt(timezone, time)).toISOString().slice(0, 7);
  }
}

interface Wanted {
  readonly month: string;
  readonly batchSize: number;
  readonly run: string;
  readonly signal: AbortSignal;
}

/** Passes over all tiers, until one finds nobody. Where users come faster than that, they need not all be waited for. */
const mostPasses = 3;

/** One pass over all tiers. */
async function* creditAll(database: Database, wanted: Wanted) {
  const { signal } = wanted;
  const text = 'SELECT name, monthly_credits FROM rondo_catalog.tiers ORDER BY name';
  for (const tier of await database.query<Tier>(text, [], { signal })) {
    for await (const { users, credits } of creditTier(database, tier, wanted))
      yield { tier: tier.name, users, credits };
  }
}

/** Batch by batch in the order of their ids, each a transaction. A run that begins anew steps over who is done. */
async function* creditTier(database: Database, tier: Tier, { month, batchSize, run, signal }: Wanted) {
  const firstDay = `${month}-01`;
  for (let last = '0'; ; ) {
    const batch = await database.transaction(
      async (client) => {
        const due = await client.query(dueUsers, [tier.name, tier.monthly_credits, firstDay, last, batchSize]);
        const ids = due.rows.map(({ id }) => id as string);
        const { rows } = await client.query(credit, [ids, tier.name, tier.monthly_credits, firstDay, run]);
        return { last: ids.at(-1), users: Number(rows[0].users), credits: Number(rows[0].credits) };
      },
      { signal },
    );
    if (batch.last === undefined) return;
    yield batch;
    last = batch.last;
  }
}

const dueUsers = `
  SELECT id
  FROM rondo_catalog.users
  WHERE tier = $1 AND free_credits < $2 AND id > $4
    AND NOT EXISTS (SELECT FROM rondo_catalog.credit_adjustments WHERE user_id = users.id AND month = $3)
  ORDER BY id
  LIMIT $5`;

// Who spends or buys credits meanwhile waits for the lock, or is waited for: what is added is what was lacking. The order
// keeps two runs at once from waiting for each other.
const credit = `
  WITH due AS (
    SELECT id, $3 - free_credits AS lacking
    FROM rondo_catalog.users
    WHERE id = ANY ($1::bigint[]) AND tier = $2 AND free_credits < $3
    ORDER BY id
    FOR NO KEY UPDATE
  ), adjusted AS (
    INSERT INTO rondo_catalog.credit_adjustments (user_id, month, tier, amount, free_credits, run_id)
    SELECT id, $4, $2, lacking, $3, $5 FROM due
    ON CONFLICT ON CONSTRAINT one_adjustment_a_month DO NOTHING
    RETURNING user_id, amount
  ), credited AS (
    UPDATE rondo_catalog.users SET free_credits = free_credits + amount FROM adjusted WHERE id = user_id
    RETURNING amount
  )
  SELECT count(*) AS users, coalesce(sum(amount), 0) AS credits FROM credited`;
