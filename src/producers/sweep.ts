import { type Finished, type Kept, keptByRuns, removeExpired } from '../broker/finished-runs.js';
import { trimLedgers } from '../broker/ledger.js';
import type { Broker } from '../broker/queues.js';
import type { Sweep } from '../jobs/catalog/sweep-retention.js';
import { defineJob } from '../jobs/define-job.js';
import type { Registry } from '../jobs/registry.js';
import { trimAudit } from './audit.js';
import { chunks } from './chunks.js';
import { readKnown } from './gone-jobs.js';
import { endEndless } from './idempotency.js';
import { byJob } from './schedules.js';
import { readStore } from './store.js';

export interface SweepInput {
  readonly broker: Broker;
  readonly registry: Registry;
  /** In ms since the epoch. */
  readonly now: () => number;
  /** How many finished runs one pass looks at: 100,000 unless told. */
  readonly mostRuns?: number;
  /** How many at a time: Redis serves others in between. */
  readonly batch?: number;
}

/**
 * Removes what is kept beyond its retention, of all jobs of the store: also of those that another app declares, or code
 * does no longer. One part that fails keeps no other from its turn.
 */
export function createSweep({ broker, registry, now, mostRuns = 100_000, batch = 250 }: SweepInput): Sweep {
  return async ({ signal, progress }) => {
    const swept = { completed: 0, failed: 0, held: 0, ledgerEntries: 0, auditEntries: 0, idempotencyRecords: 0 };
    const failures: unknown[] = [];
    let looked = 0;

    const parts = [
      async () => ({ ledgerEntries: await sweepLedgers(broker, signal) }),
      async () => ({ auditEntries: await trimAudit(broker) }),
      async () => ({ idempotencyRecords: await endEndless(broker, signal) }),
      ...(await jobsOf(broker, registry)).map((job) => () => sweepQueue(job)),
    ];
    for (const [index, part] of parts.entries()) {
      await part()
        .then((counts) => Object.assign(swept, counts))
        .catch((error: unknown) => failures.push(error));
      signal.throwIfAborted();
      await progress(Math.floor((100 * (index + 1)) / parts.length));
    }
    if (failures.length > 0) throw failureOf(failures, parts.length);
    return { ...swept, left: looked >= mostRuns };

    async function sweepQueue(job: string): Promise<void> {
      for (const state of ['completed', 'failed'] as const) {
        const runs = { job, state, kept: await retentionOf(job, state) };
        let skip = 0;
        while (looked < mostRuns) {
          signal.throwIfAborted();
          const most = Math.min(batch, mostRuns - looked);
          const { removed, held } = await removeExpired(broker, runs, { skip, most, now: now() });
          swept[state] += removed;
          swept.held += held;
          looked += removed + held;
          skip += held;
          if (removed + held < most) break;
        }
      }
    }
  };

  /** Where the code is not at hand, what the runs were enqueued with stands. */
  async function retentionOf(job: string, state: Finished): Promise<Kept> {
    return registry.find(job)?.retention[state] ?? (await keptByRuns(broker, job, state)) ?? usual[state];
  }
}

const usual = defineJob({ name: 'any', run: () => null }).retention;

async function jobsOf(broker: Broker, registry: Registry): Promise<string[]> {
  const known = await readKnown(broker);
  return [...new Set([...registry.jobs.map(({ name }) => name), ...known.map(({ job }) => job)])].sort();
}

async function sweepLedgers(broker: Broker, signal: AbortSignal): Promise<number> {
  const { stored } = await readStore(broker);
  let removed = 0;
  for (const [job, schedules] of byJob([...stored.values()])) {
    for (const some of chunks(schedules, 500)) {
      signal.throwIfAborted();
      removed += await trimLedgers(broker, job, some);
    }
  }
  return removed;
}

function failureOf(failures: readonly unknown[], parts: number): Error {
  const [first] = failures;
  const reason = first instanceof Error ? first.message : String(first);
  return new Error(`${failures.length} of ${parts} parts could not be swept: ${reason}`, { cause: first });
}
