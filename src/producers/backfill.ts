import { randomBytes } from 'node:crypto';
import {
  type Backfill,
  type BackfillRecord,
  claimedTicks,
  makeBackfill,
  readBackfills,
  type Span,
} from '../broker/backfills.js';
import { readCursor, readTicks } from '../broker/ledger.js';
import { pauseHolds } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import { mustBeEnabled } from '../jobs/define-job.js';
import { isoTime } from '../jobs/words.js';
import { type BackfillPlan, mostTicks, planBackfill, ticksBetween } from './backfill-plan.js';
import type { Stored } from './plan.js';
import { readStored, unknownSchedule } from './store.js';

/** Times in ms since the epoch, both ends included. */
export interface BackfillWanted {
  readonly from: number;
  readonly to: number;
  /** Only ticks that the ledger knows to have had no run. */
  readonly onlyMissed: boolean;
}

export interface BackfillInput extends BackfillWanted {
  /** Who asks, as people know them. */
  readonly by: string;
  readonly now: number;
  /** More than a hundred thousand ticks are meant. */
  readonly confirmed: boolean;
}

/** So many ticks want to be confirmed. */
export const unconfirmedTicks = 100_000;

/**
 * What a backfill would do. Reads only.
 *
 * @throws RondoError `schedule-unknown`, or `backfill-invalid` with what is wrong with the range
 */
export async function previewBackfill(
  broker: Broker,
  id: string,
  input: BackfillWanted & { readonly now: number },
): Promise<BackfillPlan> {
  return (await planNow(broker, await storedOr(broker, id), input)).plan;
}

/**
 * Begins a backfill, or goes on with one of the very same range that somebody has stopped. Its runs are added by
 * `feedBackfill`, in this process or in a producer.
 *
 * @returns its record, or null where no tick is left to run
 * @throws RondoError `schedule-unknown`, `backfill-invalid`, `backfill-unconfirmed`, `schedule-paused`, or `job-disabled`
 */
export async function beginBackfill(
  broker: Broker,
  id: string,
  input: BackfillInput,
): Promise<{ readonly backfill: BackfillRecord | null; readonly resumed: boolean; readonly plan: BackfillPlan }> {
  const stored = await storedOr(broker, id);
  const of = { job: stored.specification.job, schedule: id };
  const definition = broker.jobOf(of.job);
  if (definition) mustBeEnabled(definition);
  for (;;) {
    const { plan, records, made, paused } = await planNow(broker, stored, input);
    if (paused) throw new RondoError('schedule-paused', `${id}: resume it first`);
    const same = records.find((record) => isSame(record, input));
    if (same) return { backfill: same, resumed: true, plan };
    if (plan.count === 0) return { backfill: null, resumed: false, plan };
    if (plan.count > unconfirmedTicks && !input.confirmed) {
      throw new RondoError('backfill-unconfirmed', `${plan.count} ticks, more than ${unconfirmedTicks}`);
    }
    const { from, to, onlyMissed, by, now: createdAt } = input;
    const { timing } = stored.specification;
    const { spans, count } = plan;
    const name = randomBytes(4).toString('hex');
    const backfill: Backfill = { ...of, id: name, from, to, onlyMissed, by, createdAt, timing, spans, count };
    // Somebody else's, made since, may have taken the same ticks.
    if (!(await makeBackfill(broker, backfill, made))) continue;
    return { backfill: { ...backfill, state: 'feeding', fed: 0, at: null, started: 0 }, resumed: false, plan };
  }
}

async function planNow(broker: Broker, stored: Stored, input: BackfillWanted & { readonly now: number }) {
  const { from, to, onlyMissed, now } = input;
  refuseRange(input);
  const { timing, job } = stored.specification;
  const of = { job, schedule: stored.id };
  const rule = broker.ruleOf(stored.id);
  if (timing.kind === 'next' && !rule) refuse('schedule', 'one whose next() this process knows', stored.id);
  // First what others have: a tick that they take while the rest is read is seen in what was made since.
  const { records, made } = await readBackfills(broker, of);
  const cursor = await readCursor(broker, of);
  if (!cursor) return refuse('schedule', 'one with a ledger, which a producer begins', stored.id);
  const { entries, knownFrom } = await readTicks(broker, of);
  const next = typeof cursor.next === 'object' && cursor.next !== null ? cursor.next.after + 1 : cursor.next;
  const liveFrom = next ?? Math.max(now, cursor.at) + 1;
  if (from >= liveFrom) refuse('from', `a time before ${isoTime(liveFrom)}, the next tick`, isoTime(from));
  const taken = await takenBy(broker, records);
  const plan = await planBackfill({
    ...{ schedule: stored.id, timing, rule, from, to, onlyMissed, liveFrom, entries, taken },
    knownFrom: knownFrom ?? liveFrom,
  });
  if (plan.tooMany)
    refuse('to', `a range of at most ${mostTicks} ticks`, `more, from ${isoTime(from)} to ${isoTime(to)}`);
  const ticks = plan.count + Object.values(plan.leftOut).reduce((sum, it) => sum + it, 0);
  if (ticks === 0) refuse('to', 'a range with a tick of the schedule', `none from ${isoTime(from)} to ${isoTime(to)}`);
  return { plan, records, made, paused: pauseHolds(cursor.pause, now) };
}

function refuseRange({ from, to, now }: BackfillWanted & { readonly now: number }): void {
  if (to < from) refuse('to', `a time at or after from, ${isoTime(from)}`, isoTime(to));
  if (from > now) refuse('from', 'a time in the past', isoTime(from));
  if (to > now) refuse('to', `a time that is not to come; it is ${isoTime(now)}`, isoTime(to));
}

/** The spans that backfills have of a schedule, in order: of one that was cancelled, those ticks that began. */
async function takenBy(broker: Broker, records: readonly BackfillRecord[]): Promise<Span[]> {
  const spans: Span[] = [];
  for (const record of records) {
    if (record.state !== 'cancelled') spans.push(...record.spans);
    else if (record.started > 0) spans.push(...(await startedSpans(broker, record)));
  }
  spans.sort(([a], [b]) => a - b);
  return spans;
}

async function startedSpans(broker: Broker, record: BackfillRecord): Promise<Span[]> {
  const isClaimed = await claimedTicks(broker, record, 0, record.count);
  const spans: Span[] = [];
  let left = record.started;
  for await (const { tick, index } of ticksOf(broker, record)) {
    if (isClaimed(index)) {
      spans.push([tick, tick]);
      left--;
    }
    if (left === 0) break;
  }
  return spans;
}

/** @param from where to go on: how many ticks there were before, and the last of them */
export async function* ticksOf(
  broker: Broker,
  { schedule, timing, spans }: Backfill,
  from: { readonly fed: number; readonly at: number | null } = { fed: 0, at: null },
): AsyncGenerator<{ tick: number; index: number }> {
  const rule = broker.ruleOf(schedule);
  let index = from.fed;
  for (const [first, last] of spans) {
    const start = Math.max(first, (from.at ?? first - 1) + 1);
    if (start > last) continue;
    for await (const tick of ticksBetween(timing, start, last, rule)) yield { tick, index: index++ };
  }
}

/** The same range asked for once more, before all its runs were added. */
function isSame(record: BackfillRecord, { from, to, onlyMissed }: BackfillWanted): boolean {
  const open = record.state === 'feeding' || record.state === 'stopped';
  return open && record.from === from && record.to === to && record.onlyMissed === onlyMissed;
}

export async function storedOr(broker: Broker, id: string): Promise<Stored> {
  const stored = await readStored(broker, id);
  if (stored) return stored;
  throw await unknownSchedule(broker, id);
}

function refuse(where: string, expected: string, got: string): never {
  throw new RondoError('backfill-invalid', '', { problems: [{ where, expected, got }] });
}
