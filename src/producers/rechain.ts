import { isDeepStrictEqual } from 'node:util';
import type { Cursor } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import type { Emit } from '../jobs/events.js';
import { type NextTick, nextOr, offsetOf, type Timing } from '../jobs/schedule.js';
import { upsertChain } from './chains.js';
import type { Specification } from './plan.js';
import { accountFor, beginAnew } from './watch.js';

/** Times in ms since the epoch. */
export interface Rechain {
  readonly id: string;
  readonly specification: Specification;
  /** What it was: what its ledger has gone by. */
  readonly before: Specification;
  readonly rule: NextTick | undefined;
  /** Where its ledger stands; null where it has none. */
  readonly cursor: Cursor | null;
  /** From when on nobody knows what became of its ticks, where it has none. */
  readonly lostSince?: number;
  /** Whether a hand has been at its scheduler. */
  readonly edited: boolean;
  readonly now: number;
  /** When its next tick from now is due; null where none is left. */
  readonly next: number | null;
}

/**
 * Brings ledger and chain of a schedule in line with what it is to be. The ledger first: what is due by the old times
 * keeps its entry, and its run, which the upsert would delete.
 */
export async function rechain(broker: Broker, input: Rechain, emit: Emit): Promise<void> {
  const { id, specification, before, rule, cursor, now } = input;
  const { job, timing } = specification;
  const of = { job, schedule: id };
  if (cursor) {
    const timingFromNow = { timing, rule };
    await accountFor(broker, { ...of, specification: before, cursor, now, timingFromNow }, emit);
  } else {
    await beginAnew(broker, of, specification, now, emit, input.lostSince);
  }
  // An upsert leaves fields that it does not know as they are.
  if (input.edited) await broker.queue(job).removeJobScheduler(id);
  const ahead = isDeepStrictEqual(before.timing, timing) && cursor ? cursor.at + offsetOf(timing) : 0;
  if (ahead <= now) await upsertChain(broker, id, specification, input.next);
  else await upsertChain(broker, id, specification, dueAfter(timing, ahead, rule), ahead);
}

/** When the first tick after one that is due then is due itself, as far as anybody knows. */
export function dueAfter(timing: Timing, due: number, rule: NextTick | undefined): number | null {
  const next = nextOr(timing, due - offsetOf(timing), rule);
  return typeof next === 'number' ? next + offsetOf(timing) : null;
}
