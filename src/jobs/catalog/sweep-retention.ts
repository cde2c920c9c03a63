import { defineJob } from '../define-job.js';

/** What was found to be kept for too long, by kind. */
export interface Swept {
  /** Finished runs that were removed. */
  readonly completed: number;
  readonly failed: number;
  /** Finished runs that stay, since their ledger has not heard of their end. */
  readonly held: number;
  /** Entries that were beyond what a ledger, and the audit log, keeps. */
  readonly ledgerEntries: number;
  readonly auditEntries: number;
  /** Records that had no end, and have one now. */
  readonly idempotencyRecords: number;
  /** Whether one pass was not enough: the next one goes on. */
  readonly left: boolean;
}

/** How everything is held to its retention; done in bounded steps, between which the signal is looked at. */
export type Sweep = (watch: {
  readonly signal: AbortSignal;
  progress(percent: number): Promise<void>;
}) => Promise<Swept>;

/** Known by this in every copy of the package. */
const supply: unique symbol = Symbol.for('rondo.sweep') as never;

/**
 * Holds every queue, ledger, audit log and idempotency record to its retention, also without traffic. For a jobs module as
 * well: `export default [sweepRetention(), … ]`.
 */
export function sweepRetention() {
  let sweep: Sweep = sweepsNothing;
  const job = defineJob({
    name: 'sweep-retention',
    description: 'Holds queues, ledgers, audit log and idempotency records to their retention',
    schedules: [{ id: 'sweep-retention', cron: '@hourly', spread: '30m' }],
    overlap: 'skip',
    retry: { attempts: 3, delay: '30s' },
    timeout: '10m',
    concurrency: 1,
    async run({ signal, log, progress }) {
      const swept = await sweep({ signal, progress });
      log.info({ ...swept }, 'retention is held');
      return swept;
    },
  });
  const supplied = (given: Sweep) => {
    sweep = given;
  };
  return Object.assign(job, { [supply]: supplied });
}

/** Gives jobs that sweep the means to, which no jobs module has: a connection to Redis. */
export function supplySweep(jobs: readonly object[], sweep: Sweep): void {
  for (const job of jobs as readonly { [supply]?: (sweep: Sweep) => void }[]) job[supply]?.(sweep);
}

const sweepsNothing: Sweep = async () => {
  throw new Error('only a worker of `rondo` has what it takes to sweep');
};
