import { type QueueFigures, readQueueFigures } from '../broker/queue-figures.js';
import type { Broker } from '../broker/queues.js';
import { tickOutcomes } from '../broker/tick-entry.js';
import type { Figures, JobFigures } from '../jobs/figures.js';
import { readStore } from './store.js';
import { countHealth, type Health, healths } from './views.js';

export interface FiguresInput {
  readonly broker: Broker;
  readonly app: string;
  /** The names of the jobs that are told of. */
  readonly jobs: readonly string[];
  /** In ms since the epoch. */
  readonly now: () => number;
  /** In ms of a clock that nobody sets. */
  readonly elapsed: () => number;
}

/** How old figures may be, in ms, that somebody is told. */
const keptMs = 5_000;
/** The same for how schedules are, which costs by their number: no more than a tenth of the time goes into it. */
const schedulesKeptMs = 15_000;
const schedulesShare = 10;

/**
 * Reads what the store says of itself. However many ask, and however often: what was read stands for some seconds, and
 * those who ask while it is read get the same answer.
 */
export function createFigures({ broker, app, jobs, now, elapsed }: FiguresInput): () => Promise<Figures> {
  const schedules = kept(
    async () => {
      const { stored, unreadable } = await readStore(broker);
      const known = new Set(jobs);
      const ours = [...stored.values()].filter(({ specification }) => known.has(specification.job));
      return { unreadable: unreadable.size, byJob: await countHealth(broker, ours, now()) };
    },
    (tookMs) => Math.max(schedulesKeptMs, schedulesShare * tookMs),
    elapsed,
  );
  return kept(
    async () => {
      const [queues, leaseMs, { byJob, unreadable }] = await Promise.all([
        Promise.all(jobs.map((job) => readQueueFigures(broker, job, now()))),
        broker.client.pttl(broker.keys.producerLease(app)),
        schedules(),
      ]);
      return {
        jobs: queues.map((queue) => ofJob(queue, byJob.get(queue.job))),
        leaseMs: Math.max(0, leaseMs),
        unreadable,
      };
    },
    () => keptMs,
    elapsed,
  );
}

/** Each word there is, with how many, for a job that has schedules; what is 0 may rise. */
function ofJob(queue: QueueFigures, schedules: ReadonlyMap<Health, number> | undefined): JobFigures {
  const ticks = schedules || Object.keys(queue.ticks).length > 0 ? { ...noTicks, ...queue.ticks } : {};
  return { ...queue, ticks, schedules: schedules ? { ...noSchedules, ...Object.fromEntries(schedules) } : {} };
}

const closed = tickOutcomes.filter((outcome) => outcome !== 'waiting' && outcome !== 'running');
const noTicks = Object.fromEntries(closed.map((outcome) => [outcome, 0]));
const noSchedules = Object.fromEntries(healths.map((health) => [health, 0]));

/** Asks once at a time, and not again before the answer is so old; a failure is told to those who wait, and forgotten. */
function kept<Answer>(
  ask: () => Promise<Answer>,
  keepMs: (tookMs: number) => number,
  elapsed: () => number,
): () => Promise<Answer> {
  let asked: Promise<Answer> | null = null;
  let goodUntil = Number.POSITIVE_INFINITY;
  return () => {
    if (asked && elapsed() < goodUntil) return asked;
    const startedAt = elapsed();
    goodUntil = Number.POSITIVE_INFINITY;
    const asking = ask();
    asked = asking;
    asking.then(
      () => {
        goodUntil = elapsed() + keepMs(elapsed() - startedAt);
      },
      () => {
        asked = null;
      },
    );
    return asking;
  };
}
