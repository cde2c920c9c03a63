import { randomUUID } from 'node:crypto';
import { endLedger, type LedgerOf, markPause, type Pause, readCursor } from '../broker/ledger.js';
import type { Broker } from '../broker/queues.js';
import { triggeredId } from '../broker/repeat.js';
import { RondoError } from '../errors.js';
import type { Emit } from '../jobs/events.js';
import type { Stored } from './plan.js';
import { readStored, unknownSchedule, updateEntry } from './store.js';
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
  await updateEntry(broker, id, (entry) => {
    return entry && { ...entry, pause: { since: entry.pause?.since ?? now, until, by, note } };
  });
  await markAsStored(broker, of);
}

/** Two operators may be at it: whoever marks last has looked at what the store says since. */
async function markAsStored(broker: Broker, of: LedgerOf): Promise<void> {
  const read = async () => (await readStored(broker, of.schedule))?.pause ?? null;
  const same = (a: Pause | null, b: Pause | null) => a?.since === b?.since && a?.until === b?.until;
  let pause = await read();
  for (;;) {
    await markPause(broker, of, pause);
    const now = await read();
    if (same(now, pause)) return;
    pause = now;
  }
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
  const cursor = await readCursor(broker, of);
  if (cursor?.pause) await accountFor(broker, { ...of, specification: stored.specification, cursor, now }, emit);
  await updateEntry(broker, id, (entry) => {
    if (!entry?.pause) return null;
    const { pause: _, ...rest } = entry;
    return rest;
  });
  await markAsStored(broker, of);
  return stored.pause !== undefined;
}

/**
 * Starts a run of a schedule now. It is no tick: it has no entry in the ledger, and moves no cursor.
 *
 * @param force it starts even while another run executes, whatever the schedule says of overlap
 * @returns the run's id
 * @throws RondoError `schedule-unknown`
 */
export async function triggerSchedule(
  broker: Broker,
  id: string,
  { force = false } = {},
): Promise<{ job: string; run: string }> {
  const { job, payload, options } = (await storedOr(broker, id)).specification;
  const { lateAfter: _, overlap, ...rest } = options;
  const jobId = triggeredId(id, randomUUID().slice(0, 8));
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
  if (stored.owner !== 'api' && !stored.held) throw new RondoError('schedule-declared', `${id} by ${stored.owner}`);
  await removeStored(broker, stored, now, emit);
}

/** What waits, or is overdue, still runs: it was due. */
export async function removeStored(broker: Broker, stored: Stored, now: number, emit: Emit): Promise<void> {
  const { id, specification } = stored;
  const of = ledgerOf(stored);
  const cursor = await readCursor(broker, of);
  if (cursor) await accountFor(broker, { ...of, specification, cursor, now }, emit);
  await broker.queue(of.job).removeJobScheduler(id);
  await endLedger(broker, of, now);
  await broker.client.hdel(broker.keys.schedules, id);
}

async function storedOr(broker: Broker, id: string): Promise<Stored> {
  const stored = await readStored(broker, id);
  if (stored) return stored;
  throw await unknownSchedule(broker, id);
}

function ledgerOf({ id, specification }: Stored): LedgerOf {
  return { job: specification.job, schedule: id };
}
