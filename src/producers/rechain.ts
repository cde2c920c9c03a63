import { takeBackCancelled } from '../broker/cancelled-ahead.js';
import { readCursor } from '../broker/ledger.js';
import type { LedgerOf } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import type { Emit } from '../jobs/events.js';
import { type NextTick, nextOr, offsetOf, type Timing } from '../jobs/schedule.js';
import { letGoOfLast, removeChain, upsertChain } from './chains.js';
import { accountedUntil, isSameTiming, type Specification } from './plan.js';
import { accountFor, beginAnew } from './watch.js';

/** Times in ms since the epoch. */
export interface Rechain {
  readonly id: string;
  readonly specification: Specification;
  /** What it was: what its ledger has gone by. */
  readonly before: Specification;
  readonly rule: NextTick | undefined;
  /** From when on nobody knows what became of its ticks, where it has no ledger. */
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
 *
 * @returns when its next run is due, in ms since the epoch
 */
export async function rechain(broker: Broker, input: Rechain, emit: Emit): Promise<number | null> {
  const { id, specification, rule, now } = input;
  const { job, timing } = specification;
  const of = { job, schedule: id };
  const hasLedger = await accountForChange(broker, of, input, emit);
  if (!hasLedger) await beginAnew(broker, of, specification, now, emit, input.lostSince);
  // An upsert leaves fields that it does not know as they are.
  if (input.edited) await removeChain(broker, job, id);
  else if (hasLedger) await letGoOfLast(broker, job, id);
  // Read once more: somebody may have cancelled what comes next meanwhile.
  const ahead = hasLedger ? accountedUntil(await readCursor(broker, of), timing) : 0;
  const next = ahead > now ? dueAfter(timing, ahead, rule) : input.next;
  await upsertChain(broker, id, specification, next, ahead > now ? ahead : undefined);
  return next;
}

/**
 * Accounts for what is due by the old times. Where they change, from where the ledger stood before anything was cancelled
 * ahead: it may happen between the two steps, and both are done again then.
 *
 * @returns false where there is no ledger
 */
async function accountForChange(broker: Broker, of: LedgerOf, input: Rechain, emit: Emit): Promise<boolean> {
  const { specification, before, rule, now } = input;
  const timingFromNow = { timing: specification.timing, rule };
  const changes = !isSameTiming(before.timing, specification.timing);
  for (;;) {
    const cursor = changes
      ? await takeBackCancelled(broker, { ...of, timing: before.timing, now }, emit)
      : await readCursor(broker, of);
    if (!cursor) return false;
    const change = { ...of, specification: before, cursor, now, timingFromNow, onlyHere: changes };
    if ((await accountFor(broker, change, emit)) || !changes) return true;
  }
}

/** When the first tick after one that is due then is due itself, as far as anybody knows. */
export function dueAfter(timing: Timing, due: number, rule: NextTick | undefined): number | null {
  const next = nextOr(timing, due - offsetOf(timing), rule);
  return typeof next === 'number' ? next + offsetOf(timing) : null;
}
