import { setTimeout as wait } from 'node:timers/promises';
import {
  advance,
  type Backfill,
  type BackfillRecord,
  type BackfillState,
  claimedTicks,
  endFeeding,
  listAsClosed,
  listAsOpen,
  listOpen,
  moveState,
  readBackfill,
  readBackfills,
} from '../broker/backfills.js';
import { laneOptions, wakeParked } from '../broker/lane.js';
import { readCursor } from '../broker/ledger.js';
import { type LedgerOf, ledgerKeys, pauseHolds } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { caughtUpId } from '../broker/repeat.js';
import { RondoError } from '../errors.js';
import type { Emit } from '../jobs/events.js';
import { storedOr, ticksOf } from './backfill.js';
import { createLease, type Lease } from './lease.js';
import type { Specification, Stored } from './plan.js';
import { readStored } from './store.js';

/** So many runs are added, or removed, with one call. */
const usualBatch = 100;
/** A batch takes at least so long, in ms: workers want Redis as well. */
const batchMs = 16;
/** Within this, in ms, somebody else goes on with a backfill whose feeder has died. */
const feederLeaseMs = 5_000;

export interface Feeding {
  /** Asked before each batch: false where the feeder is to leave off. */
  readonly mayGoOn?: () => boolean;
  /** Told when a batch of runs has been added, and when that is on record. */
  readonly onStep?: (step: 'added' | 'noted', record: BackfillRecord) => void;
  readonly now?: () => number;
  /** So many runs are added with one call: 100 unless told. */
  readonly batchSize?: number;
}

/**
 * Adds the runs of a backfill, oldest first, until all are added or somebody stops it. What a feeder that died had begun
 * is added once more: BullMQ keeps an id once, and a tick that was claimed is not run again.
 *
 * @returns the record as it stands then; `feeding` where another process is at it, or its schedule is paused
 */
export async function feedBackfill(
  broker: Broker,
  backfill: Backfill,
  specification: Runs,
  feeding: Feeding = {},
): Promise<BackfillRecord> {
  const lease = feederLease(broker, backfill);
  try {
    if (await lease.acquire()) await feed(broker, backfill, specification, lease, feeding);
  } finally {
    await lease.release().catch(() => {});
  }
  return recordOr(broker, backfill);
}

async function feed(
  broker: Broker,
  backfill: Backfill,
  specification: Runs,
  lease: Lease,
  { mayGoOn = () => true, onStep = () => {}, now = Date.now, batchSize = usualBatch }: Feeding,
): Promise<void> {
  let record = await recordOr(broker, backfill);
  // A pause sets it back to its beginning: then the ticks are gone through anew.
  let whole = false;
  while (record.state === 'feeding' && !whole) {
    whole = true;
    for await (const batch of batchesOf(ticksOf(broker, record, record), batchSize)) {
      if (!mayGoOn() || !lease.held() || (await isPaused(broker, record, now()))) return;
      const last = batch.at(-1) as Tick;
      const paced = batch.length < usualBatch ? null : wait(batchMs);
      await addBatch(broker, record, specification, batch, now());
      onStep('added', record);
      await advance(broker, record, record.fed, { fed: last.index + 1, at: last.tick });
      record = await recordOr(broker, backfill);
      onStep('noted', record);
      await paced;
      whole = record.fed === last.index + 1;
      if (record.state !== 'feeding' || !whole) break;
    }
  }
  // Its rule has fewer ticks now than when they were counted.
  await endFeeding(broker, record, record.fed);
}

const isOpen = ({ state }: BackfillRecord) => state === 'feeding' || state === 'cancelling';

/** What every run of the schedule gets. */
type Runs = Pick<Specification, 'payload' | 'options'>;

interface Tick {
  readonly tick: number;
  readonly index: number;
}

async function* batchesOf(ticks: AsyncIterable<Tick>, size: number): AsyncGenerator<Tick[]> {
  let batch: Tick[] = [];
  for await (const tick of ticks) {
    if (batch.push(tick) < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/** Whether a schedule's pause holds: its backfills are not fed then. */
export async function isPaused(broker: Broker, of: LedgerOf, now: number): Promise<boolean> {
  const cursor = await readCursor(broker, of);
  return pauseHolds(cursor?.pause ?? null, now);
}

async function addBatch(
  broker: Broker,
  { id, job, schedule }: BackfillRecord,
  { payload, options }: Runs,
  batch: readonly Tick[],
  now: number,
): Promise<void> {
  const [first, last] = [batch[0] as Tick, batch.at(-1) as Tick];
  // Every tick of the past is late.
  const { lateAfter: _, ...punctual } = options;
  const isClaimed = await claimedTicks(broker, { id, job, schedule }, first.index, last.index + 1);
  const runs = batch
    .filter(({ index }) => !isClaimed(index))
    .map(({ tick, index }) => ({
      name: job,
      data: payload,
      opts: { ...punctual, jobId: caughtUpId(schedule, tick), ...laneOptions(tick, { id, index }, now) },
    }));
  if (runs.length > 0) await broker.queue(job).addBulk(runs);
  // The first ones go on at once; each that begins wakes the next.
  await wakeParked(broker, job, 1);
}

/** Stops adding; what has been added goes on. The same range asked for again, or `resumeBackfill`, goes on with it. */
export function stopBackfill(broker: Broker, backfill: Backfill): Promise<BackfillState> {
  return moveState(broker, backfill, ['feeding'], 'stopped');
}

/** Lets a backfill that was stopped be fed again. */
export async function resumeBackfill(broker: Broker, backfill: Backfill): Promise<BackfillState> {
  await listAsOpen(broker, backfill);
  return moveState(broker, backfill, ['stopped'], 'feeding');
}

/** The newest backfill of a schedule that was stopped, or null. */
export async function findStopped(broker: Broker, id: string): Promise<BackfillRecord | null> {
  const { specification } = await storedOr(broker, id);
  const { records } = await readBackfills(broker, { job: specification.job, schedule: id });
  return records.findLast(({ state }) => state === 'stopped') ?? null;
}

const open: readonly BackfillState[] = ['feeding', 'fed', 'stopped', 'cancelling'];

/**
 * Cancels the backfills of a schedule that are under way: none of their runs begins from now on. What waits is still to
 * be removed, by `removeWaiting` or a producer.
 *
 * @throws RondoError `schedule-unknown`, or `backfill-unknown` where none is under way
 */
export async function cancelBackfills(broker: Broker, id: string): Promise<BackfillRecord[]> {
  const { specification } = await storedOr(broker, id);
  const of = { job: specification.job, schedule: id };
  const { records } = await readBackfills(broker, of);
  const found = records.filter(({ state }) => open.includes(state));
  if (found.length === 0) throw new RondoError('backfill-unknown', `${id} has none under way`);
  await listAsOpen(broker, of);
  for (const record of found) await moveState(broker, record, open, 'cancelling');
  return Promise.all(found.map((record) => recordOr(broker, record)));
}

/** Cancels all that is under way of a schedule that goes, and removes what waits. */
export async function endBackfills(broker: Broker, of: LedgerOf): Promise<void> {
  if ((await broker.client.exists(ledgerKeys(broker, of).backfills)) === 0) return;
  const { records } = await readBackfills(broker, of);
  for (const record of records.filter(({ state }) => open.includes(state))) {
    await moveState(broker, record, open, 'cancelling');
    await removeWaiting(broker, record);
  }
  await listAsClosed(broker, of);
}

/**
 * Removes the runs of a cancelled backfill that have not begun. Whoever feeds it leaves off first.
 *
 * @returns how many were removed, or null where another process was at it for too long
 */
export async function removeWaiting(
  broker: Broker,
  backfill: Backfill,
  { mayGoOn = () => true, waitMs = 2 * feederLeaseMs }: { mayGoOn?: () => boolean; waitMs?: number } = {},
): Promise<number | null> {
  const lease = feederLease(broker, backfill);
  try {
    const until = performance.now() + waitMs;
    while (!(await lease.acquire())) {
      if (performance.now() > until || !mayGoOn()) return null;
      await wait(50);
    }
    const record = await recordOr(broker, backfill);
    if (record.state !== 'cancelling') return null;
    const removed = await removeRuns(broker, record, () => mayGoOn() && lease.held());
    if (removed !== null) await moveState(broker, record, ['cancelling'], 'cancelled');
    return removed;
  } finally {
    await lease.release().catch(() => {});
  }
}

async function removeRuns(broker: Broker, record: BackfillRecord, mayGoOn: () => boolean): Promise<number | null> {
  const queue = broker.queue(record.job);
  const isClaimed = await claimedTicks(broker, record, 0, record.count);
  let removed = 0;
  let batch: string[] = [];
  const remove = async () => {
    // One that a worker has in its hands is refused, and finds out for itself.
    for (const gone of await Promise.all(batch.map((id) => queue.remove(id).catch(() => 0)))) removed += gone;
    batch = [];
  };
  for await (const { tick, index } of ticksOf(broker, record)) {
    if (!isClaimed(index)) batch.push(caughtUpId(record.schedule, tick));
    if (batch.length < usualBatch) continue;
    if (!mayGoOn()) return null;
    await remove();
  }
  await remove();
  return removed;
}

/**
 * Looks after backfills that nobody else does: goes on with those whose feeder is gone, and with cancelled ones that
 * still have runs, and lets runs go on where a worker that should have is gone.
 *
 * @param mayKeep whether a schedule is one that this process looks after
 */
export function createBackfillKeeper(broker: Broker, mayKeep: (stored: Stored) => boolean, emit: Emit) {
  let looking: Promise<void> | null = null;
  let stopping = false;
  const mayGoOn = () => !stopping;

  async function lookAtAll(): Promise<void> {
    for (const of of await listOpen(broker)) {
      if (stopping) return;
      await look(of).catch((error: unknown) => emit({ type: 'schedule.failed', ...of, error }));
    }
  }

  async function look(of: LedgerOf): Promise<void> {
    const stored = await readStored(broker, of.schedule);
    if (!stored) return listAsClosed(broker, of);
    if (!mayKeep(stored)) return;
    const { records } = await readBackfills(broker, of);
    for (const record of records) {
      if (record.state === 'feeding') await goOn(record, stored.specification);
      if (record.state === 'cancelling') await removeWaiting(broker, record, { mayGoOn, waitMs: 0 });
    }
    const { parked, waiting } = await wakeParked(broker, of.job, 1);
    const busy = records.some(isOpen);
    if (!busy && parked + waiting === 0) await close(of);
  }

  /** One that was begun since the look would lose its listing with it. */
  async function close(of: LedgerOf): Promise<void> {
    await listAsClosed(broker, of);
    const { records } = await readBackfills(broker, of);
    if (records.some(isOpen)) await listAsOpen(broker, of);
  }

  async function goOn(record: BackfillRecord, specification: Specification): Promise<void> {
    const { job, schedule, id, count } = record;
    const after = await feedBackfill(broker, record, specification, { mayGoOn });
    if (after.state === 'feeding' || after.fed === record.fed) return;
    emit({ type: 'backfill.fed', job, schedule, backfill: id, added: after.fed - record.fed, count });
  }

  return {
    /** Begins a look, unless one is under way. Nobody waits for it: a large backfill takes its time. */
    look(): void {
      looking ??= lookAtAll()
        .catch(() => {}) // Redis is away: the next look
        .finally(() => {
          looking = null;
        });
    },
    async stop(): Promise<void> {
      stopping = true;
      await looking;
    },
  };
}

async function recordOr(broker: Broker, backfill: Backfill): Promise<BackfillRecord> {
  const record = await readBackfill(broker, backfill, backfill.id);
  if (record) return record;
  throw new RondoError('backfill-unknown', `${backfill.schedule} ${backfill.id}`);
}

function feederLease(broker: Broker, backfill: Backfill): Lease {
  return createLease(broker.client, `${ledgerKeys(broker, backfill).backfills}:${backfill.id}`, feederLeaseMs);
}
