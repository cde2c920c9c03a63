import { z } from 'zod';
import { NonRetryableError } from '../../errors.js';
import type { Database } from '../database.js';
import { defineJob } from '../define-job.js';
import { daily } from '../schedule.js';
import { dayMs } from '../zone.js';

export interface PurchaseCleanupSettings {
  /** Where the tables of `rondo db migrate` are; the job is off without. */
  readonly database?: Database | null;
  /** How many purchases a transaction deletes at most. */
  readonly batchSize?: number;
  readonly now?: () => number;
}

/** Deletes purchases that have been pending or failed for more than a week. One that was completed it never touches. */
export function stalePurchaseCleanup({ database, batchSize = 1_000, now = Date.now }: PurchaseCleanupSettings) {
  return defineJob({
    name: 'stale-purchase-cleanup',
    description: 'Deletes purchases that have been pending or failed for more than 7 days',
    off: database ? null : 'DATABASE_URL is not set',
    payload: z.strictObject({
      /** Counts what would be deleted, and deletes nothing. */
      dryRun: z.boolean().default(false),
    }),
    schedules: [{ id: 'stale-purchase-cleanup', cron: daily('03:30') }],
    overlap: 'skip',
    retry: { attempts: 3, delay: '1m' },
    timeout: '30m',
    async run({ payload: { dryRun }, tick, signal, log, progress }) {
      if (!database) throw new NonRetryableError('DATABASE_URL is not set');
      const before = new Date((tick?.time.getTime() ?? now()) - 7 * dayMs);
      if (dryRun) {
        const [counted] = await database.query<{ stale: string }>(countStale, [before], { signal });
        const stale = Number(counted?.stale);
        log.info({ stale, before }, `${stale} stale purchases would be deleted`);
        return { deleted: 0, stale, dryRun };
      }
      let deleted = 0;
      let batch: number;
      do {
        const gone = await database.query(deleteStale, [before, batchSize], { signal });
        batch = gone.length;
        deleted += batch;
        await progress({ deleted });
      } while (batch > 0);
      log.info({ deleted, before }, `${deleted} stale purchases are deleted`);
      return { deleted, stale: deleted, dryRun };
    },
  });
}

const isStale = `status IN ('pending', 'failed') AND updated_at < $1`;

const countStale = `SELECT count(*) AS stale FROM rondo_catalog.purchases WHERE ${isStale}`;

// One that somebody has locked is being paid, or given up, at this moment: tomorrow it is known which.
const deleteStale = `
  WITH stale AS MATERIALIZED (
    SELECT id FROM rondo_catalog.purchases WHERE ${isStale}
    ORDER BY updated_at LIMIT $2
    FOR UPDATE SKIP LOCKED
  )
  DELETE FROM rondo_catalog.purchases USING stale WHERE purchases.id = stale.id
  RETURNING purchases.id`;
