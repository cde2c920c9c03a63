import { cancelRun } from '../broker/cancel.js';
import { readClaim } from '../broker/ledger.js';
import type { LedgerOf } from '../broker/ledger-format.js';
import type { Broker, RunOptions } from '../broker/queues.js';
import { scheduleOf } from '../broker/repeat.js';
import { endTurn, takeTurn, wakeWaiting } from '../broker/turns.js';
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
    const promised = id.startsWith('tick:') || run.job.attemptsMade > 0;
    const order = run.tick?.time ?? run.job.timestamp;
    const turn = await takeTurn(broker, { ...of, run: id, overlap, promised, order });
    switch (turn.type) {
      case 'held':
        run.fence = turn.fence;
        run.endTurn = () => void endTurn(broker, of, id).catch(() => {}); // the producer wakes the next
        return null;
      case 'parked':
        if (overlap === 'replace' && turn.holder) await cancelRun(broker, of.job, turn.holder, nameOf(run, of));
        if (run.tick) await ticks.waitOn(run.tick, id);
        return { type: 'parked', lookAgain: () => wakeWaiting(broker, of.job, [schedule]) };
      case 'busy':
        return { type: 'skipped', reason: 'overlap' };
      case 'behind':
        return { type: 'coalesced', reason: await intoWhich(of, turn.run) };
    }
  }

  async function intoWhich(of: LedgerOf, run: string): Promise<string> {
    const ahead = await readClaim(broker, of, run);
    return `into ${ahead ? isoTime(ahead.tick) : run}`;
  }

  return { take };
}

function nameOf({ tick }: ActiveRun, { schedule }: LedgerOf): string {
  return tick ? `the tick of ${isoTime(tick.time)}` : `a trigger of ${schedule}`;
}

export type Turns = ReturnType<typeof createTurns>;
