import { ErrorCode, type Job } from 'bullmq';
import { readClaim, settle } from './ledger.js';
import { type LedgerOf, ledgerKeys } from './ledger-format.js';
import type { Broker } from './queues.js';
import { scheduleOf, tickOf } from './repeat.js';
import { createScript } from './scripts.js';
import { endTurn } from './turns.js';

/**
 * What became of the wish: the run is gone; whoever executes it, or takes it next, has been told; it had ended
 * before; there is no such run.
 */
export type Cancelled = 'removed' | 'told' | 'ended' | 'unknown';

/**
 * Cancels a run, wherever it is. One that waits is removed, and its tick says so. One that executes has a mark put on
 * it, which its worker looks for twice a second; so has the run of a tick that nobody has taken yet, since its
 * scheduler goes on from there: it ends when it is taken.
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
    if (state !== 'active' && (await remove(broker, run, by))) return 'removed';
    if (await tell(broker, run, state === 'delayed', by)) return 'told';
  }
}

/** @returns false where it has ended meanwhile */
async function tell(broker: Broker, run: Job, isDelayed: boolean, by: string): Promise<boolean> {
  const { run: keyOf } = ledgerKeys(broker, { job: run.queueName, schedule: '' });
  if ((await markScript(broker.client, [keyOf(String(run.id))], [by])) !== 1) return false;
  // A retry of a chain's last run need not wait for its time to hear of it.
  if (isDelayed && run.attemptsMade > 0) await run.promote().catch(() => {});
  return true;
}

/** Who wants these runs of a job cancelled, where somebody does. */
export async function readCancels(broker: Broker, job: string, ids: readonly string[]): Promise<(string | null)[]> {
  const { run } = ledgerKeys(broker, { job, schedule: '' });
  return (await readScript(broker.client, ids.map(run), [])) as (string | null)[];
}

/** @returns false where it is being executed by now, or is the one that its scheduler goes on from */
async function remove(broker: Broker, run: Job, by: string): Promise<boolean> {
  const schedule = scheduleOf(run);
  const of = schedule === null ? null : { job: run.queueName, schedule };
  try {
    await run.remove();
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === ErrorCode.JobBelongsToJobScheduler || /locked|could not be removed/i.test(String(error))) return false;
    throw error;
  }
  if (of) await closeTick(broker, of, run, by);
  return true;
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
