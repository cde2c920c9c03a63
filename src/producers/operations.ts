import { randomUUID } from 'node:crypto';
import { readCursor, readSkips } from '../broker/ledger.js';
import type { LedgerOf } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { triggeredId } from '../broker/repeat.js';
import { RondoError } from '../errors.js';
import { mustBeEnabled } from '../jobs/define-job.js';
import type { Emit } from '../jobs/events.js';
import { apiOwner, effective, type Stored } from './plan.js';
import { isLeaving, markAsStored, markUnsettled, settle, takeDown } from './settle.js';
import { type Entry, readStored, unknownSchedule, updateEntry } from './store.js';
import { accountFor } from './watch.js';

export interface PauseInput {
  /** Who pauses it, as people know them. */
  readonly by: string;
  readonly note: string;
  /** When it goes on by itself, in ms since the epoch; null where somebody has to say. */
  readonly until: number | null;
  readonly now: number;
}

/**
 * Stops a schedule's ticks, those included that wait for a worker; what runs goes on. Ticks that fall into the pause
 * are one range in the ledger. One that is paused already takes the new note and end.
 *
 * @throws RondoError `schedule-unknown`
 */
export async function pauseSchedule(broker: Broker, id: string, { by, note, until, now }: PauseInput): Promise<void> {
  const of = ledgerOf(await storedOr(broker, id));
  let isThere = false;
  await updateEntry(broker, id, (entry) => {
    isThere = entry !== null && !isLeaving(entry);
    return entry && isThere ? { ...entry, pause: { since: entry.pause?.since ?? now, until, by, note } } : null;
  });
  if (!isThere) throw await unknownSchedule(broker, id); // somebody has removed it meanwhile
  await markAsStored(broker, of);
}

/**
 * Lets a schedule's ticks go on, from now.
 *
 * @returns whether it was paused
 * @throws RondoError `schedule-unknown`
 */
export async function resumeSchedule(broker: Broker, id: string, now: number, emit: Emit): Promise<boolean> {
  const stored = await storedOr(broker, id);
  const of = ledgerOf(stored);
  await accountForPause(broker, of, now, emit);
  await updateEntry(broker, id, (entry) => {
    if (!entry?.pause) return null;
    const { pause: _, ...rest } = entry;
    return rest;
  });
  await markAsStored(broker, of);
  return stored.pause !== undefined;
}

/**
 * By the times that the ledger goes by: somebody may change them meanwhile. Read after the cursor, the store tells
 * which these are, unless the cursor moves.
 */
async function accountForPause(broker: Broker, of: LedgerOf, now: number, emit: Emit): Promise<void> {
  for (;;) {
    const cursor = await readCursor(broker, of);
    if (!cursor?.pause) return;
    const stored = await storedOr(broker, of.schedule);
    if (stored.unsettled) await settle(broker, of.schedule, stored, now, emit);
    else {
      const specification = effective(stored.specification);
      if (await accountFor(broker, { ...of, specification, cursor, now, onlyHere: true }, emit)) return;
    }
  }
}

/**
 * Starts a run of a schedule now. It is no tick: it has no entry in the ledger, and moves no cursor.
 *
 * @param force it starts even while another run executes, whatever the schedule says of overlap
 * @param marker ends the run's id, without a colon: a second call with the same one starts no second run while Redis
 *   keeps the first
 * @returns the run's id
 * @throws RondoError `schedule-unknown`, or `job-disabled`
 */
export async function triggerSchedule(
  broker: Broker,
  id: string,
  { force = false, marker = randomUUID().slice(0, 8) } = {},
): Promise<{ job: string; run: string }> {
  const { job, payload, options } = (await storedOr(broker, id)).specification;
  const definition = broker.jobOf(job);
  if (definition) mustBeEnabled(definition);
  const { lateAfter: _, healthcheck: __, overlap, ...rest } = options;
  const jobId = triggeredId(id, marker);
  await broker.queue(job).add(job, payload, { ...rest, ...(overlap && !force && { overlap }), jobId });
  return { job, run: jobId };
}

/**
 * Removes a schedule that no code declares. What waits, or is overdue, still runs; its ledger is kept for a month.
 *
 * @throws RondoError `schedule-unknown`, or `schedule-declared` where its app's next producer would bring it back
 */
export async function removeSchedule(broker: Broker, id: string, now: number, emit: Emit): Promise<void> {
  const stored = await storedOr(broker, id);
  if (stored.owner !== apiOwner && !stored.held) throw new RondoError('schedule-declared', `${id} by ${stored.owner}`);
  if (stored.owner === apiOwner) await removePut(broker, id, now, emit);
  else await removeStored(broker, stored, now, emit);
}

/** The store first: what a process that dies leaves undone a producer finds there. */
async function removePut(broker: Broker, id: string, now: number, emit: Emit): Promise<void> {
  let leaving: Entry | null = null;
  await updateEntry(broker, id, (entry) => {
    leaving = entry?.owner === apiOwner ? markUnsettled(entry, entry, now, { removal: true }) : null;
    return leaving;
  });
  if (leaving) await settle(broker, id, leaving, now, emit);
}

/** What waits, or is overdue, still runs: it was due. */
export async function removeStored(broker: Broker, stored: Stored, now: number, emit: Emit): Promise<void> {
  const { id } = stored;
  const specification = effective(stored.specification);
  const of = ledgerOf(stored);
  const skips = await readSkips(broker, of);
  await takeDown(broker, id, specification, now, emit);
  await broker.client.hdel(broker.keys.schedules, id);
  // Who cancelled its next run meanwhile has let its chain go on.
  if ((await readSkips(broker, of)) !== skips) await takeDown(broker, id, specification, now, emit);
}

async function storedOr(broker: Broker, id: string): Promise<Stored> {
  const stored = await readStored(broker, id);
  if (stored && !isLeaving(stored)) return stored;
  throw await unknownSchedule(broker, id);
}

function ledgerOf({ id, specification }: Stored): LedgerOf {
  return { job: specification.job, schedule: id };
}
