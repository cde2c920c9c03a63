import { ErrorCode, type Job } from 'bullmq';
import { readClaim, settle } from './ledger.js';
import { type LedgerOf, ledgerKeys } from './ledger-format.js';
import type { Broker } from './queues.js';
import { scheduleOf, tickOf } from './repeat.js';
import { createScript } from './scripts.js';
import { endTurn } from './turns.js';

/**
 * What became of the wish: the run is gone; whoever executes it has been told; it had ended before; there is no such
 * run; it is the next of its schedule, from which the scheduler goes on: that is for who knows the schedule.
 */
export type Cancelled = 'removed' | 'told' | 'ended' | 'unknown' | 'next';

/**
 * Cancels a run, wherever it is. One that waits is removed, and its tick says so. One that executes has a mark put on
 * it, which its worker looks for twice a second.
 *
 * @param by who wants it, as people know them
 */
export async function cancelRun(broker: Broker, job: string, id: string, by: string): Promise<Cancelled> {
  for (;;) {
    // The state first: beside the runs lie keys of other kinds, which an id may name.
    const state = await broker.queue(job).getJobState(id);
    if (state === 'unknown') return 'unknown';
    if (state === 'completed' || state === 'failed') return 'ended';
    const run = await broker.queue(job).getJob(id);
    // Its entry in a list may outlive it.
    if (!run) return 'unknown';
    if (state !== 'active') {
      const removed = await remove(broker, run, by);
      if (removed !== 'kept') return removed;
    }
    if (await tellRun(broker, run, by)) return 'told';
  }
}

/**
 * Tells whoever executes a run, or takes it next.
 *
 * @returns false where it has ended meanwhile
 */
export async function tellRun(broker: Broker, run: Job, by: string): Promise<boolean> {
  if ((await markScript(broker.client, [keyOf(broker, run)], [by])) !== 1) return false;
  // A retry of a chain's last run need not wait for its time to hear of it; one that is not delayed is not promoted.
  if (run.attemptsMade > 0) await run.promote().catch(() => {});
  return true;
}

/** Who wants these runs of a job cancelled, where somebody does. */
export async function readCancels(broker: Broker, job: string, ids: readonly string[]): Promise<(string | null)[]> {
  const { run } = ledgerKeys(broker, { job, schedule: '' });
  return (await readScript(broker.client, ids.map(run), [])) as (string | null)[];
}

/** It is kept where it executes by now, or where its scheduler goes on from it though it has begun. */
async function remove(broker: Broker, run: Job, by: string): Promise<'removed' | 'next' | 'kept'> {
  const schedule = scheduleOf(run);
  const of = schedule === null ? null : { job: run.queueName, schedule };
  try {
    await run.remove();
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === ErrorCode.JobBelongsToJobScheduler) return (await hasTick(broker, run)) ? 'kept' : 'next';
    if (/locked|could not be removed/i.test(String(error))) return 'kept';
    throw error;
  }
  if (of) await closeTick(broker, of, run, by);
  return 'removed';
}

/** Whether a worker has claimed its tick. */
export async function hasTick(broker: Broker, run: Job): Promise<boolean> {
  return (await broker.client.hexists(keyOf(broker, run), 'tick')) === 1;
}

function keyOf(broker: Broker, run: Job): string {
  return ledgerKeys(broker, { job: run.queueName, schedule: '' }).run(String(run.id));
}

async function closeTick(broker: Broker, of: LedgerOf, run: Job, by: string): Promise<void> {
  const id = String(run.id);
  const claim = tickOf(run) && (await readClaim(broker, of, id));
  if (claim) {
    const { tick: time, due, claimedAt: claimed } = claim;
    const attempts = run.attemptsMade;
    await settle(broker, of, { time, due, claimed, run: id, attempts, outcome: 'cancelled', reason: `by ${by}` });
  }
  await endTurn(broker, of, id);
}

const markScript = createScript(`
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'finishedOn') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'cancel', ARGV[1])
return 1`);

const readScript = createScript(`
local found = {}
for i, run in ipairs(KEYS) do found[i] = redis.call('HGET', run, 'cancel') end
return found`);
