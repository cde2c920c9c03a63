import { cancelRun } from '../broker/cancel.js';
import { backfillOf, parkedUntil } from '../broker/lane.js';
import { readClaim } from '../broker/ledger.js';
import type { LedgerOf } from '../broker/ledger-format.js';
import { type Broker, hasBegun, noteBegun, type RunOptions } from '../broker/queues.js';
import { scheduleOf } from '../broker/repeat.js';
import { endTurn, type Turn, type TurnInput, takeTurn, wakeWaiting } from '../broker/turns.js';
import { isoTime } from '../jobs/words.js';
import type { ActiveRun } from './active-run.js';
import type { Outcome } from './outcome.js';
import type { Ticks } from './ticks.js';

/** A worker's side of the policies of overlap: each run of a schedule that has one takes its turn before it starts. */
export function createTurns(broker: Broker, ticks: Ticks) {
  /** @returns what becomes of the run instead, or null where it may start */
  async function take(run: ActiveRun): Promise<Outcome | null> {
    const { overlap } = run.job.opts as RunOptions;
    const schedule = scheduleOf(run.job);
    if (!overlap || schedule === null) return null;
    const of = { job: run.job.queueName, schedule };
    const id = run.facts.run;
    const promised = id.startsWith('tick:') || run.job.attemptsMade > 0 || run.job.stalledCounter > 0;
    const turn = await ask({ ...of, run: id, overlap, promised, order: placeOf(run) });
    switch (turn.type) {
      case 'held':
        run.fence = turn.fence;
        return null;
      case 'parked':
        if (overlap === 'replace' && turn.holder && !promised) {
          await cancelRun(broker, of.job, turn.holder, nameOf(run, of));
        }
        if (run.tick) await ticks.waitOn(run.tick, id);
        return { type: 'parked', lookAgain: () => wakeWaiting(broker, of.job, [schedule]) };
      case 'busy':
        return { type: 'skipped', reason: 'overlap' };
      case 'behind':
        return { type: 'coalesced', reason: await intoWhich(of, turn.run) };
    }
  }

  /** One that would give way, but has begun before, is promised its turn as well. */
  async function ask(input: TurnInput): Promise<Turn> {
    const turn = await takeTurn(broker, input);
    const givesWay = turn.type === 'busy' || turn.type === 'behind';
    if (!givesWay || !(await hasBegun(broker, input.job, input.run))) return turn;
    return takeTurn(broker, { ...input, promised: true });
  }

  async function intoWhich(of: LedgerOf, run: string): Promise<string> {
    const ahead = await readClaim(broker, of, run);
    return `into ${ahead ? isoTime(ahead.tick) : run}`;
  }

  /** It has ended, whether this attempt took the turn or one before it. */
  function end({ job, facts }: ActiveRun): void {
    const schedule = scheduleOf(job);
    if (!(job.opts as RunOptions).overlap || schedule === null) return;
    endTurn(broker, { job: job.queueName, schedule }, facts.run).catch(() => {}); // the producer wakes the next
  }

  return {
    take,
    end,
    /** It is put back, and did start in time, and in turn. Without the note it may be barred now. */
    noteBegun: ({ job, facts }: ActiveRun): Promise<void> =>
      noteBegun(broker, job.queueName, facts.run).catch(() => {}),
    /** Whether its handler was called before: by an attempt that was interrupted, or one that it was redriven after. */
    hasBegun: async ({ job, facts }: ActiveRun): Promise<boolean> =>
      job.stalledCounter > 0 || hasBegun(broker, job.queueName, facts.run),
  };
}

/** Backfilled ones stand behind every live one: more of them come than can have their turn. */
function placeOf({ job, tick }: ActiveRun): number {
  const time = tick?.time ?? job.timestamp;
  return backfillOf(job) ? parkedUntil(time) : time;
}

function nameOf({ tick }: ActiveRun, { schedule }: LedgerOf): string {
  return tick ? `the tick of ${isoTime(tick.time)}` : `a trigger of ${schedule}`;
}

export type Turns = ReturnType<typeof createTurns>;
