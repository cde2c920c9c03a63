import type { Job } from 'bullmq';
import { type AccountInput, account } from '../broker/account.js';
import { addCaughtUp, followUp } from '../broker/caught-up.js';
import { begin, readClaimTexts, readTicks, settle, settleLeft } from '../broker/ledger.js';
import { type Claim, type Cursor, type LedgerOf, ledgerKeys, unpackClaim } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { iterationId } from '../broker/repeat.js';
import { isRange, type TickOutcome, type TickRun, unpackEntry } from '../broker/tick-entry.js';
import { RondoError } from '../errors.js';
import type { Emit } from '../jobs/events.js';
import { nextTick, offsetOf } from '../jobs/schedule.js';
import type { Chain, Specification, Stored } from './plan.js';

/** How long a tick that is due may lack its run, and a claim its word, in ms, before it is looked at. */
const patienceMs = 5_000;

export interface WatchInput {
  readonly schedules: readonly Stored[];
  readonly chains: ReadonlyMap<string, Chain>;
  readonly now: number;
  readonly mayGoOn: () => boolean;
}

/**
 * Looks after ticks that nobody else will: those that are due and have no run, since their chain was broken, and
 * those whose run has ended without a word to the ledger.
 */
export async function watchTicks(
  broker: Broker,
  { schedules, chains, now, mayGoOn }: WatchInput,
  emit: Emit,
): Promise<void> {
  for (const { id, specification } of schedules) {
    const chain = chains.get(id);
    // One that is broken is healed, which accounts for its ticks; one that has ended may have claims left.
    const isBroken = chain?.iteration === 'gone' && chain.cursor?.next !== null;
    if (!chain || isBroken || isInOrder(chain, specification, now)) continue;
    if (!mayGoOn()) return;
    const of = { job: specification.job, schedule: id };
    // One that makes trouble is reported, and the others go on.
    await putInOrder(broker, of, specification, chain, now, emit).catch((error: unknown) => {
      emit({ type: 'schedule.failed', ...of, error });
    });
  }
}

function isInOrder({ cursor, claims, ...chain }: Chain, specification: Specification, now: number): boolean {
  return cursor !== null && !claims && !lacksItsRun(chain, cursor, specification, now);
}

async function putInOrder(
  broker: Broker,
  of: LedgerOf,
  specification: Specification,
  chain: Chain,
  now: number,
  emit: Emit,
): Promise<void> {
  const { cursor } = chain;
  if (!cursor) await beginAnew(broker, of, specification, now, emit);
  else if (lacksItsRun(chain, cursor, specification, now) && !(await isAlive(broker, of, cursor, specification))) {
    await accountFor(broker, { ...of, specification, cursor, now, onlyHere: true }, emit);
  }
  if (chain.claims) await closeClaims(broker, of, specification, now);
}

interface AccountFor extends LedgerOf {
  readonly specification: Specification;
  readonly cursor: Cursor;
  readonly now: number;
  readonly lost?: boolean;
  /** Only where the ledger stands at this cursor: elsewhere somebody else is at it. */
  readonly onlyHere?: boolean;
  readonly timingFromNow?: AccountInput['timingFromNow'];
}

/**
 * Accounts for all that is due now, adds the runs that are to be caught up, and says what was left.
 *
 * @returns false where nothing was done, since the ledger stands elsewhere, or nowhere
 */
export async function accountFor(broker: Broker, input: AccountFor, emit: Emit): Promise<boolean> {
  const { schedule, specification } = input;
  const { timing, policy } = specification;
  let { cursor } = input;
  for (;;) {
    const found = await account(broker, { ...input, timing, policy, cursor, rule: broker.ruleOf(schedule) });
    if (found.type === 'moved' && !input.onlyHere) {
      cursor = found.cursor;
      continue;
    }
    if (found.type !== 'accounted') return false;
    await followUp(broker, input, specification, found, emit);
    return true;
  }
}

/**
 * Begins a ledger after what it is known to have held, and marks what lies between as unknown.
 *
 * @param since from when on nobody knows, in ms since the epoch
 */
export async function beginAnew(
  broker: Broker,
  of: LedgerOf,
  specification: Specification,
  now: number,
  emit: Emit,
  since?: number,
): Promise<void> {
  const [{ entries }, removed] = await Promise.all([
    readTicks(broker, of),
    broker.client.hget(ledgerKeys(broker, of).cursor, 'removed'),
  ]);
  // While it did not exist it had no ticks, and what somebody has removed is not lost.
  const last = removed ? undefined : entries.at(-1);
  const at = last ? (isRange(last) ? last.to : last.time) : removed ? now : (since ?? now);
  const { timing } = specification;
  const rule = broker.ruleOf(of.schedule);
  const next = nextTick(timing, at - (last ? 0 : offsetOf(timing)), rule);
  await begin(broker, of, at, next);
  if (at < now)
    await accountFor(broker, { ...of, specification, cursor: { at, next, pause: null }, now, lost: true }, emit);
}

/** A tick has been due for a while, and BullMQ's chain stands elsewhere. */
function lacksItsRun(
  { next, iteration }: Pick<Chain, 'next' | 'iteration'>,
  cursor: Cursor,
  { timing }: Specification,
  now: number,
): boolean {
  if (typeof cursor.next !== 'number') return false; // where nobody could tell, the chain has ended, and is healed
  const due = cursor.next + offsetOf(timing);
  // One that a worker has taken and not claimed by now never will be: its worker is gone, or its way was cut off.
  return due < now - patienceMs && !(next === due && ['delayed', 'queued'].includes(iteration));
}

async function isAlive(broker: Broker, of: LedgerOf, { next }: Cursor, { timing }: Specification): Promise<boolean> {
  const state = await broker.queue(of.job).getJobState(iterationId(of.schedule, Number(next) + offsetOf(timing)));
  return !['unknown', 'completed', 'failed', 'active'].includes(state);
}

async function closeClaims(broker: Broker, of: LedgerOf, specification: Specification, now: number): Promise<void> {
  for (const [id, text] of Object.entries(await readClaimTexts(broker, of))) {
    const claim = unpackClaim(text);
    if (Number.isNaN(claim.claimedAt)) throw new RondoError('ledger-unreadable', `the claim of ${id}`);
    if (now - claim.claimedAt >= patienceMs) await closeClaim(broker, of, specification, { id, claim, text });
  }
}

/** The claim of a run, as it stood when it was read: its worker may close it meanwhile. */
interface OpenClaim {
  readonly id: string;
  readonly claim: Claim;
  readonly text: string;
}

async function closeClaim(broker: Broker, of: LedgerOf, specification: Specification, open: OpenClaim): Promise<void> {
  const { id, claim, text } = open;
  const queue = broker.queue(of.job);
  const state = await queue.getJobState(id);
  if (state === 'completed' || state === 'failed') {
    const job = await queue.getJob(id);
    const noted = notedOn(claim, of);
    const isNoted = state === 'failed' && noted && ['timed-out', 'cancelled'].includes(noted.outcome);
    if (job) await settle(broker, of, isNoted ? noted : entryOf(id, claim, endOf(job, state)), text);
  } else if (state === 'unknown' && claim.state === 'pending') {
    await addCaughtUp(broker, of, specification, [claim.tick]);
  } else if (state === 'unknown') {
    await closeGone(broker, of, open);
  }
}

/** Retention may have removed it before its worker could tell: what it noted stands. */
async function closeGone(broker: Broker, of: LedgerOf, { id, claim, text }: OpenClaim): Promise<void> {
  const noted = notedOn(claim, of);
  if (!noted) await settle(broker, of, entryOf(id, claim, goneAs(claim)), text);
  else if (noted.outcome === 'skipped' || noted.outcome === 'coalesced') await settleLeft(broker, of, id, noted, text);
  else await settle(broker, of, noted, text);
}

function notedOn({ last }: Claim, { schedule }: LedgerOf): TickRun | null {
  const noted = last ? unpackEntry(schedule, last) : null;
  return noted && !isRange(noted) ? noted : null;
}

interface End {
  readonly outcome: TickOutcome;
  readonly reason?: string;
  readonly started?: number;
  readonly finished?: number;
  readonly attempts: number;
}

function entryOf(run: string, { tick, due, claimedAt }: Claim, end: End): TickRun {
  return { time: tick, due, claimed: claimedAt, run, ...end };
}

function endOf(job: Job, state: 'completed' | 'failed'): End {
  const { skipped } = (job.returnvalue ?? {}) as { skipped?: string };
  const times = {
    ...(job.processedOn !== undefined && { started: job.processedOn }),
    ...(job.finishedOn !== undefined && { finished: job.finishedOn }),
    attempts: job.attemptsMade,
  };
  if (state === 'failed') return { outcome: 'failed', reason: job.failedReason, ...times };
  return skipped ? { outcome: 'skipped', reason: skipped, ...times } : { outcome: 'succeeded', ...times };
}

function goneAs({ state }: Claim): End {
  return state === 'waiting'
    ? { outcome: 'cancelled', reason: 'its run was removed before it began', attempts: 0 }
    : { outcome: 'unknown', reason: 'its run is gone from Redis', attempts: 0 };
}
