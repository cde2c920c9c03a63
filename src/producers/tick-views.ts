import { readTicks, type TicksQuery } from '../broker/ledger.js';
import { type LedgerOf, ledgerKeys } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { caughtUpId } from '../broker/repeat.js';
import { isRange, type TickEntry, type TickOutcome, type TickRun } from '../broker/tick-entry.js';
import { RondoError } from '../errors.js';
import { isoOr, isoTime } from '../jobs/words.js';
import { readStore, readStored, unknownSchedule } from './store.js';

/** What became of a tick, or of `count` ticks from `time` to `to`. Times are ISO, durations in ms. */
export interface TickView {
  readonly time: string;
  readonly to: string | null;
  readonly count: number;
  readonly outcome: TickOutcome;
  readonly reason: string | null;
  readonly due: string | null;
  readonly claimed: string | null;
  readonly started: string | null;
  readonly finished: string | null;
  /** From when it was due to when it was taken first. */
  readonly latenessMs: number | null;
  /** How long its last attempt took. */
  readonly durationMs: number | null;
  readonly attempts: number | null;
  readonly run: string | null;
}

/**
 * Where a schedule's ledger is: that of one which was removed is kept for a month, but only its job's slot knows.
 *
 * @param jobs names of jobs whose schedule it may have been
 * @throws RondoError `schedule-unknown`
 */
export async function findLedger(
  broker: Broker,
  id: string,
  jobs: readonly string[],
): Promise<LedgerOf & { readonly removed: string | null }> {
  const stored = await readStored(broker, id);
  if (stored) return { job: stored.specification.job, schedule: id, removed: null };
  const ofStore = [...(await readStore(broker)).stored.values()].map(({ specification }) => specification.job);
  const candidates = new Set([...jobs, ...ofStore]);
  for (const job of candidates) {
    const { cursor, ticks } = ledgerKeys(broker, { job, schedule: id });
    if ((await broker.client.exists(cursor, ticks)) === 0) continue;
    const removed = Number(await broker.client.hget(cursor, 'removed'));
    return { job, schedule: id, removed: removed > 0 ? isoTime(removed) : null };
  }
  throw await unknownSchedule(broker, id);
}

export interface TicksWanted extends TicksQuery {
  readonly outcomes?: readonly TickOutcome[];
}

/** Entries of a ledger, oldest first: the newest so many, with these outcomes, that reach into the range. */
export async function listTicks(
  broker: Broker,
  of: LedgerOf,
  { outcomes, limit, ...range }: TicksWanted = {},
): Promise<{ ticks: TickView[]; unreadable: number; knownFrom: string | null }> {
  const { entries, unreadable, knownFrom } = await readTicks(broker, of, range).catch((error) =>
    refuseOther(of, error),
  );
  const wanted = outcomes ? entries.filter(({ outcome }) => outcomes.includes(outcome)) : entries;
  return {
    ticks: wanted.slice(limit === undefined ? 0 : -limit).map((entry) => tickView(of.schedule, entry)),
    unreadable: unreadable.length,
    knownFrom: isoOr(knownFrom),
  };
}

/** A key of another type, which a hand has written, is no ledger. */
export function refuseOther({ schedule }: LedgerOf, error: unknown): never {
  if (!String(error).includes('WRONGTYPE')) throw error;
  throw new RondoError('ledger-unreadable', `that of ${schedule} is no ledger`, { cause: error });
}

export function tickView(schedule: string, entry: TickEntry): TickView {
  const { time, outcome, reason = null } = entry;
  const range = isRange(entry);
  const run = range ? null : entry;
  const took = run?.started !== undefined && run.finished !== undefined ? run.finished - run.started : null;
  return {
    time: isoTime(time),
    to: range ? isoTime(entry.to) : null,
    count: range ? entry.count : 1,
    outcome,
    reason,
    due: isoOr(run?.due),
    claimed: isoOr(run?.claimed),
    started: isoOr(run?.started),
    finished: isoOr(run?.finished),
    latenessMs: latenessOf(schedule, entry),
    durationMs: took,
    attempts: run?.attempts ?? null,
    run: run?.run ?? null,
  };
}

/** From when a tick was due to when it was taken first, in ms; null of those that have no run. */
export function latenessOf(schedule: string, entry: TickEntry): number | null {
  return isRange(entry) ? null : takenAt(schedule, entry) - entry.due;
}

/** One that was caught up was claimed when its run was added, and may have waited since. */
function takenAt(schedule: string, { run, time, attempts, claimed, started }: TickRun): number {
  return run === caughtUpId(schedule, time) && attempts <= 1 ? (started ?? claimed) : claimed;
}
