import { AsyncLocalStorage } from 'node:async_hooks';
import { readPayload } from '../jobs/payload.js';
import { until } from '../lifecycle.js';
import { type ActiveRun, RunContext } from './active-run.js';
import { admit } from './admit.js';
import { failure, type Outcome, settle } from './outcome.js';
import type { Ticks } from './ticks.js';

/** How long a handler has, in ms, to end after its signal aborted; then it is given up. */
export const abortGraceMs = 1_000;

/** How long a run whose tick could not be claimed is held, in ms, before it waits again. */
const claimAgainMs = 1_000;

/** Which run the code that is executing belongs to: how a stray rejection finds its run. */
export const currentRun = new AsyncLocalStorage<ActiveRun>();

/** The way of one attempt: what it answers or throws is BullMQ's to store. */
export async function execute(run: ActiveRun, ticks: Ticks): Promise<unknown> {
  const nothing = run.facts.schedule === undefined ? null : await claim(run, ticks);
  return settle(run.decide(nothing ?? (await carryOut(run))), run);
}

/** Before anything else: whatever happens to the run from here on, its tick is accounted for. */
async function claim(run: ActiveRun, ticks: Ticks): Promise<Outcome | null> {
  const found = await ticks.claim(run.job, run.startedAtMs).catch(() => null);
  if (!found) {
    // Redis did not take it: the run waits on, and costs no attempt.
    await until(Date.now() + claimAgainMs);
    return { type: 'interrupted' };
  }
  if ('tick' in found) {
    run.claimed(found.tick);
    return null;
  }
  // Nothing was run, so nothing is kept of it but the ledger's word.
  run.job.opts.removeOnComplete = true;
  return { type: 'skipped', reason: found.nothing };
}

function carryOut(run: ActiveRun): Outcome | Promise<Outcome> {
  const payload = readPayload(run.definition, run.job.data);
  // What the schema refuses now it will refuse at every attempt.
  const refused = payload.refused && failure(payload.refused);
  return refused ?? admit(run.job, run.startedAtMs) ?? attempt(run, payload.value);
}

function attempt(run: ActiveRun, payload: unknown): Promise<Outcome> {
  const handler = () => {
    run.emit({ type: 'run.started', ...run.facts });
    return run.definition.run(new RunContext(run, payload));
  };
  return currentRun.run(run, () => run.race(handler));
}
