import type { Job } from 'bullmq';
import { account } from '../broker/account.js';
import { cancelRun, hasTick, tellRun } from '../broker/cancel.js';
import { followUp } from '../broker/caught-up.js';
import { noteSkip, readCursor } from '../broker/ledger.js';
import { isUnresolved } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { tickOf } from '../broker/repeat.js';
import { RondoError } from '../errors.js';
import type { Emit } from '../jobs/events.js';
import { offsetOf } from '../jobs/schedule.js';
import { effective, type Stored } from './plan.js';
import { dueAfter, rechain } from './rechain.js';
import { jobAt } from './runs.js';
import { isLeaving, settle, takeDown } from './settle.js';
import { readStored } from './store.js';
import { accountFor } from './watch.js';

export interface CancelInput {
  /** Who wants it, as people know them. */
  readonly by: string;
  readonly now: () => number;
}

/**
 * Cancels a run. One that waits is removed, and its tick says so; so is the next of a schedule, which goes on with the
 * tick after it. One that executes has its signal aborted within a second, wherever it is.
 *
 * @throws RondoError `run-unknown`, or `run-ended`
 */
export async function cancel(
  broker: Broker,
  job: string,
  id: string,
  { by, now }: CancelInput,
  emit: Emit,
): Promise<'removed' | 'told'> {
  for (;;) {
    const done = await cancelRun(broker, job, id, by);
    if (done === 'unknown') throw new RondoError('run-unknown', `${job} ${id}`);
    if (done === 'ended') throw new RondoError('run-ended', `${job} ${id}`);
    if (done !== 'next') return done;
    const run = await jobAt(broker.queue(job), id);
    if (!run) continue; // it has gone its way meanwhile
    const skipped = await skipTick(broker, run, { by, now }, emit);
    if (skipped === 'skipped') return 'removed';
    if (skipped === 'unaccountable' && (await tellRun(broker, run, by))) return 'told';
  }
}

/** The ledger first: from there on the tick has its word, whatever becomes of its run. */
async function skipTick(
  broker: Broker,
  run: Job,
  { by, now }: CancelInput,
  emit: Emit,
): Promise<'skipped' | 'moved' | 'unaccountable'> {
  const tick = tickOf(run);
  const stored = tick && (await readStored(broker, tick.schedule));
  if (!stored || isLeaving(stored)) return 'unaccountable';
  if (stored.unsettled) {
    // A change is under way, whose upsert would make the run anew.
    await settle(broker, stored.id, stored, now(), emit);
    return 'moved';
  }
  const closed = await closeTick(broker, { run, time: tick.time, stored }, { by, now }, emit);
  if (closed !== 'closed') return closed;
  await goOn(broker, stored, now(), emit);
  // One that was due already may still stand in a list: its scheduler has gone on.
  await run.remove().catch(() => {});
  return 'skipped';
}

/** Gives a tick its word, where it has none yet. */
async function closeTick(
  broker: Broker,
  { run, time, stored }: { run: Job; time: number; stored: Stored },
  { by, now }: CancelInput,
  emit: Emit,
): Promise<'closed' | 'moved' | 'unaccountable'> {
  const specification = effective(stored.specification);
  const { timing, policy } = specification;
  const of = { job: run.queueName, schedule: stored.id };
  let cursor = await readCursor(broker, of);
  if (cursor && typeof cursor.next === 'number' && cursor.next < time) {
    // What was missed before it keeps its own word.
    const before = Math.min(now(), time + offsetOf(timing) - 1);
    await accountFor(broker, { ...of, specification, cursor, now: before }, emit);
    cursor = await readCursor(broker, of);
  }
  if (!cursor || isUnresolved(cursor.next)) return 'unaccountable';
  if (cursor.next === null || cursor.next > time) {
    // A worker has claimed it just now, or its tick has its word, and its run was left.
    if (await hasTick(broker, run)) return 'moved';
    return cursor.at >= time ? 'closed' : 'unaccountable';
  }
  if (cursor.next < time) return 'unaccountable';
  const rule = broker.ruleOf(stored.id);
  const found = await account(broker, { ...of, timing, policy, rule, now: now(), cursor, cancelledBy: by });
  if (found.type !== 'accounted') return 'moved';
  await followUp(broker, of, specification, found, emit);
  return 'closed';
}

/** With what the store says at the end: a change may come at the same moment. */
async function goOn(broker: Broker, found: Stored, now: number, emit: Emit): Promise<void> {
  let stored = found;
  for (;;) {
    const { id } = stored;
    const specification = effective(stored.specification);
    const of = { job: specification.job, schedule: id };
    const rule = broker.ruleOf(id);
    const next = dueAfter(specification.timing, now, rule);
    // Before, for one that dies in between; after, so that who has not seen it upserts later.
    await noteSkip(broker, of);
    await rechain(broker, { id, specification, before: specification, rule, edited: false, now, next }, emit);
    await noteSkip(broker, of);
    const after = await readStored(broker, id);
    if (after?.hash === stored.hash && !after.unsettled) return;
    if (after?.unsettled) return settle(broker, id, after, now, emit);
    if (!after) return takeDown(broker, id, specification, now, emit);
    stored = after;
  }
}
