import type { Job } from 'bullmq';
import { type Accounted, type AccountInput, account } from '../broker/account.js';
import { createBackfillClaims } from '../broker/backfill-claim.js';
import type { BackfillMark } from '../broker/backfills.js';
import { followUp, type Template } from '../broker/caught-up.js';
import { backfillOf } from '../broker/lane.js';
import { begin, noteEnd, readRunOf, settle, settleLeft, start } from '../broker/ledger.js';
import { type Cursor, type LedgerOf, ledgerKeys, pauseHolds } from '../broker/ledger-format.js';
import type { Broker, RunOptions } from '../broker/queues.js';
import { carrierOf, tickOf } from '../broker/repeat.js';
import type { TickOutcome, TickRun } from '../broker/tick-entry.js';
import type { Emit } from '../jobs/events.js';
import { defaultPolicy } from '../jobs/misfire.js';
import { offsetOf, type Timing } from '../jobs/schedule.js';
import type { Outcome } from './outcome.js';

/** The tick that a run is for, and since when. Times in ms since the epoch. */
export interface ClaimedTick extends LedgerOf {
  readonly time: number;
  readonly due: number;
  readonly claimedAt: number;
}

/** The tick to run, or why there is none. */
export type TickClaim =
  | { readonly tick: ClaimedTick; readonly cancelledBy: string | null }
  | { readonly nothing: string };

/** What a worker has to do with ledgers: it claims a tick before it runs it, and says what became of it. */
export function createTicks(broker: Broker, emit: Emit) {
  const writes = new Set<Promise<void>>();
  const claimOfBackfill = createBackfillClaims(broker);

  /** One call, nearly always: the ledger stands where BullMQ's chain says, unless ticks were missed. */
  async function claim(job: Job, now: number): Promise<TickClaim> {
    const named = tickOf(job);
    if (!named) return { nothing: 'it is no tick' };
    const of = { job: job.queueName, schedule: named.schedule };
    const backfill = backfillOf(job);
    if (backfill) return claimBackfilled(job, of, named.time, backfill, now);
    // One that we added ourselves carries no timing: it has a claim, or nothing to do.
    const { timing, policy = defaultPolicy } = carrierOf(job) ?? {};
    const carried = timing ? { timing, policy } : nobodys;
    const found = await accountFrom({ ...of, ...carried }, job, named.time, now);
    switch (found.type) {
      case 'accounted':
        await followUp(broker, of, templateOf(job), found, emit);
        tellEarly(of, found.own, carried.timing, now);
        if (found.own === null) return { nothing: reasonOf(found) };
        return { tick: tickAt(of, found.own, carried.timing, now), cancelledBy: found.cancelledBy };
      case 'again':
        return again(job, { ...of, ...found.claim, time: found.claim.tick }, found, now);
      case 'closed':
        return begun(job, await closedTick(of, found.tick, carried.timing, now));
      case 'moved':
        return { nothing: carried === nobodys ? 'its scheduler was not made by Rondo' : duplicateOf(named.time) };
      case 'none':
        return { nothing: 'its schedule has no ledger' };
    }
  }

  /** Of a run that somebody retries. What we added ourselves carries no spread: its entry knows when it was due. */
  async function closedTick(of: LedgerOf, time: number, timing: Timing, now: number): Promise<ClaimedTick> {
    const entry = await readRunOf(broker, of, time);
    return { ...tickAt(of, time, timing, now), ...(entry && { due: entry.due }) };
  }

  async function claimBackfilled(
    job: Job,
    of: LedgerOf,
    tick: number,
    backfill: BackfillMark,
    now: number,
  ): Promise<TickClaim> {
    const found = await claimOfBackfill({ ...of, run: String(job.id), tick, backfill, now });
    switch (found.type) {
      case 'claimed':
        return { tick: { ...of, time: tick, due: found.due, claimedAt: now }, cancelledBy: null };
      case 'again':
        return { tick: { ...of, ...found.claim, time: found.claim.tick }, cancelledBy: null };
      case 'closed':
        return begun(job, { ...of, time: found.tick, due: found.due, claimedAt: now });
      case 'nothing':
        return { nothing: found.reason };
    }
  }

  /** Accounts from where the ledger stands, once that is known: ticks may lie between it and the run's. */
  async function accountFrom(
    carried: LedgerOf & Pick<AccountInput, 'timing' | 'policy'>,
    job: Job,
    time: number,
    now: number,
  ): Promise<Accounted> {
    const run = { id: String(job.id), time };
    if (carried.timing === nobodys.timing) {
      // With the schedule's own rule all its ticks would be gone through, from the first that there could have been.
      return account(broker, { ...carried, rule: undefined, now, cursor: { next: noTick, pause: null }, run });
    }
    let cursor: AccountInput['cursor'] = { next: time, pause: null };
    for (;;) {
      const found = await account(broker, { ...carried, rule: broker.ruleOf(carried.schedule), now, cursor, run });
      if (found.type === 'none') await begin(broker, carried, time - 1, time);
      else if (found.type !== 'moved' || !mayBeNext(time, found.cursor.next)) return found;
      else cursor = found.cursor;
    }
  }

  /** Another attempt goes on; one that was caught up, and waited until now, begins, unless its schedule is paused. */
  async function again(
    job: Job,
    tick: ClaimedTick,
    { claim: { state }, pause, cancelledBy }: Extract<Accounted, { type: 'again' }>,
    now: number,
  ): Promise<TickClaim> {
    if (state === 'running' || cancelledBy !== null) return { tick, cancelledBy };
    if (!pauseHolds(pause, now)) return begun(job, tick);
    // Where its process dies before BullMQ has its end, it comes again, and must not be taken for one that is retried.
    await broker.client.hdel(ledgerKeys(broker, tick).run(String(job.id)), 'tick');
    await settle(broker, tick, entryOf(tick, String(job.id), 'paused', 0));
    return { nothing: 'the schedule is paused' };
  }

  async function begun(job: Job, tick: ClaimedTick): Promise<TickClaim> {
    await start(broker, tick, entryOf(tick, String(job.id), 'running', job.attemptsMade));
    return { tick, cancelledBy: null };
  }

  function tellEarly({ job, schedule }: LedgerOf, tick: number | null, timing: Timing, now: number): void {
    const earlyMs = tick === null ? 0 : tick + offsetOf(timing) - now;
    if (tick !== null && earlyMs > earlyFromMs) emit({ type: 'tick.early', job, schedule, tick, earlyMs });
  }

  /** Nobody waits for it: what is lost with this process the producer finds. */
  function keepWriting(writing: Promise<void>): void {
    const write = writing.catch(() => {}).finally(() => writes.delete(write));
    writes.add(write);
  }

  return {
    claim,
    /** The run of a tick waits for its turn. */
    waitOn: (tick: ClaimedTick, run: string) => start(broker, tick, entryOf(tick, run, 'waiting', 0)),
    /** Notes what will have become of a tick, right before BullMQ is asked to accept it. */
    foretell(tick: ClaimedTick, run: SettledRun): void {
      keepWriting(noteEnd(broker, tick, endOf(tick, run)));
    },
    /** Writes what became of a tick, once BullMQ has accepted it. */
    settle(tick: ClaimedTick, run: SettledRun): void {
      const entry = endOf(tick, run);
      const left = entry.outcome === 'skipped' || entry.outcome === 'coalesced';
      keepWriting(left ? settleLeft(broker, tick, run.id, entry) : settle(broker, tick, entry));
    },
    /** Resolves when all that was settled is written. */
    async written(): Promise<void> {
      await Promise.all(writes);
    },
  };
}

export type Ticks = ReturnType<typeof createTicks>;

export interface SettledRun {
  readonly id: string;
  readonly outcome: Outcome;
  /** In ms since the epoch. */
  readonly startedAt: number;
  readonly durationMs: number;
  readonly attempts: number;
}

function mayBeNext(time: number, next: Cursor['next']): boolean {
  if (next === null) return false;
  return typeof next === 'number' ? time >= next : time > next.after;
}

const duplicateOf = (time: number) => `a duplicate: ${new Date(time).toISOString()} has its entry already`;

/** From how early on a tick is told of, in ms: timers and clocks are not that exact. */
const earlyFromMs = 500;

const noTick = -1;

/** Of a run that no scheduler of ours has made. */
const nobodys = {
  timing: { kind: 'next' },
  policy: { misfire: 'run-once', grace: Number.MAX_SAFE_INTEGER, maxCatchUp: 1 },
} as const;

function tickAt(of: LedgerOf, time: number, timing: Timing, claimedAt: number): ClaimedTick {
  return { ...of, time, due: time + offsetOf(timing), claimedAt };
}

function entryOf(tick: ClaimedTick, run: string, outcome: TickOutcome, attempts: number): TickRun {
  const { time, due, claimedAt: claimed } = tick;
  return { time, due, claimed, run, outcome, attempts };
}

function endOf(tick: ClaimedTick, { id, outcome: found, startedAt, durationMs, attempts }: SettledRun): TickRun {
  const { outcome, reason } = wordsOf(found);
  const times = { started: startedAt, finished: startedAt + durationMs };
  return { ...entryOf(tick, id, outcome, attempts), ...times, ...(reason && { reason }) };
}

function reasonOf({ left }: Extract<Accounted, { type: 'accounted' }>): string {
  const last = left.at(-1);
  if (!last) return 'its tick is not due yet';
  return last.outcome === 'paused' ? 'the schedule is paused' : `${last.outcome}: ${last.reason}`;
}

function wordsOf(outcome: Outcome): { outcome: TickOutcome; reason?: string } {
  switch (outcome.type) {
    case 'failed':
      return { outcome: 'failed', reason: outcome.error.message };
    case 'skipped':
    case 'coalesced':
      return { outcome: outcome.type, reason: outcome.reason };
    case 'cancelled':
      return { outcome: 'cancelled', reason: `by ${outcome.by}` };
    case 'timed-out':
      return { outcome: 'timed-out' };
    case 'succeeded':
      return { outcome: 'succeeded' };
    case 'parked':
      return { outcome: 'waiting' };
    case 'interrupted':
    case 'too-new':
    case 'lock-lost':
      return { outcome: 'running' };
  }
}

/** The options that its scheduler gives every run, without what is this one's own. */
function templateOf(job: Job): Template {
  const { attempts, backoff, priority, removeOnComplete, removeOnFail, keepLogs } = job.opts;
  const { overlap, lateAfter, healthcheck, version, secret } = job.opts as RunOptions;
  const options = {
    ...{ attempts, backoff, removeOnComplete, removeOnFail, keepLogs },
    ...(priority && { priority }),
    ...(version && { version }),
    ...(secret && { secret }),
    ...(overlap && { overlap }),
    ...(lateAfter !== undefined && { lateAfter }),
    ...(healthcheck && { healthcheck }),
  };
  return { payload: job.data, options };
}
