import { takeBackCancelled } from '../broker/cancelled-ahead.js';
import { addCaughtUp } from '../broker/caught-up.js';
import { endLedger, markPause, readClaims, readCursor } from '../broker/ledger.js';
import type { LedgerOf, Pause } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import type { Emit } from '../jobs/events.js';
import { readChains, removeChain } from './chains.js';
import { endBackfills } from './feed.js';
import { apiOwner, effective, isOver, isUnderWay, type Specification } from './plan.js';
import { dueAfter, rechain } from './rechain.js';
import { type Entry, gone, readStored, updateEntry } from './store.js';
import { accountFor } from './watch.js';

/**
 * Brings ledger and chain of a schedule that was made at run time in line with its entry in the store, and marks the
 * entry as settled. Operators and producers may be at it at the same time: whoever wrote last has looked at what the
 * store says since, and does that too.
 *
 * @param entry what the store says
 */
export async function settle(broker: Broker, id: string, entry: Entry, now: number, emit: Emit): Promise<void> {
  let applied = entry;
  for (;;) {
    if (isLeaving(applied)) await takeDown(broker, id, wasInForce(applied), now, emit);
    else await setUp(broker, id, applied, now, emit);
    const found = await confirm(broker, id, applied);
    if (found === applied) return;
    // What it had made is in nobody's list: it goes.
    applied = found ?? markUnsettled(applied, applied, now, { removal: true });
  }
}

/**
 * An entry as it is to be, from what it was, for `settle` to bring the rest in line with.
 *
 * @param now in ms since the epoch
 */
export function markUnsettled(
  entry: Entry,
  was: Entry | null,
  now: number,
  { removal }: { removal?: true } = {},
): Entry {
  const before = was?.unsettled ? was.unsettled.before : (was?.specification ?? null);
  return { ...entry, unsettled: { since: now, before, ...(removal && { removal }) } };
}

/** Whether a schedule is being removed. */
export function isLeaving({ unsettled }: Pick<Entry, 'unsettled'>): boolean {
  return unsettled?.removal === true;
}

/**
 * Does what a producer has found to be left undone, unless somebody is at it by now.
 *
 * @returns false where nothing was to be done
 */
export async function repairAtRunTime(broker: Broker, id: string, now: number, emit: Emit): Promise<boolean> {
  const entry = await readStored(broker, id);
  if (entry?.owner !== apiOwner || isUnderWay(entry, now)) return false;
  const cursor = await readCursor(broker, { job: entry.specification.job, schedule: id });
  if (!entry.unsettled && isOver(cursor, entry.specification, now)) return false;
  await settle(broker, id, entry, now, emit);
  return true;
}

/** Two operators may be at it: whoever marks last has looked at what the store says since. */
export async function markAsStored(broker: Broker, of: LedgerOf): Promise<void> {
  const read = async () => (await readStored(broker, of.schedule))?.pause ?? null;
  let pause = await read();
  for (;;) {
    await markPause(broker, of, pause);
    const now = await read();
    if (isSamePause(now, pause)) return;
    pause = now;
  }
}

export function isSamePause(a: Pause | null, b: Pause | null): boolean {
  return a?.since === b?.since && a?.until === b?.until;
}

/** What ledger and chain have gone by until now. */
function wasInForce({ specification, unsettled }: Entry): Specification {
  return effective(unsettled?.before ?? specification);
}

async function setUp(broker: Broker, id: string, entry: Entry, now: number, emit: Emit): Promise<void> {
  const specification = effective(entry.specification);
  const { job, timing } = specification;
  const chain = (await readChains(broker, new Map([[job, [id]]]))).get(id);
  const before = wasInForce(entry);
  const rule = broker.ruleOf(id);
  const { edited = false } = chain ?? {};
  await rechain(broker, { id, specification, before, rule, edited, now, next: dueAfter(timing, now, rule) }, emit);
}

/**
 * Ends ledger and chain of a schedule that goes, by the times that its ledger has gone by. What waits, or is overdue,
 * still runs: it was due.
 */
export async function takeDown(
  broker: Broker,
  id: string,
  specification: Specification,
  now: number,
  emit: Emit,
): Promise<void> {
  const { job, timing } = specification;
  const of = { job, schedule: id };
  const cursor = await takeBackCancelled(broker, { ...of, timing, now }, emit);
  if (cursor) await accountFor(broker, { ...of, specification, cursor, now }, emit);
  // Nobody would add them once it is gone, where whoever began to has died.
  const pending = [...(await readClaims(broker, of)).values()].filter(({ state }) => state === 'pending');
  await addCaughtUp(
    broker,
    of,
    specification,
    pending.map(({ tick }) => tick).sort((a, b) => a - b),
  );
  await removeChain(broker, job, id);
  await endBackfills(broker, of);
  await endLedger(broker, of, now);
}

/** @returns what was applied, where that is what the store still says, else what it says now */
async function confirm(broker: Broker, id: string, applied: Entry): Promise<Entry | null> {
  let found: Entry | null = null;
  const settled = (entry: Entry | null) => {
    found = entry;
    if (!entry?.unsettled || !isSame(entry, applied)) return null;
    const { unsettled, ...rest } = entry;
    return unsettled.removal ? gone : rest;
  };
  // Where nothing is to be written, nothing would tell whether the guess is right.
  await updateEntry(broker, id, settled, applied.unsettled && applied);
  if (!isSame(found, applied)) return found;
  // A ledger that was begun just now has not seen a pause that was stored meanwhile.
  if ((found as Entry | null)?.pause) await markAsStored(broker, { job: applied.specification.job, schedule: id });
  return applied;
}

function isSame(entry: Entry | null, applied: Entry): boolean {
  const goes = (it: Entry | null) => it === null || isLeaving(it);
  return goes(entry) ? goes(applied) : entry?.hash === applied.hash && !goes(applied);
}
