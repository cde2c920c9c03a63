import { AsyncLocalStorage } from 'node:async_hooks';
import { type RunOptions, versionOf } from '../broker/queues.js';
import { readStored } from '../jobs/payload.js';
import { until } from '../lifecycle.js';
import { type ActiveRun, RunContext } from './active-run.js';
import { admit } from './admit.js';
import { cancelled, failure, type Outcome, settle } from './outcome.js';
import type { Ticks } from './ticks.js';
import type { Turns } from './turns.js';

/** How long a handler has, in ms, to end after its signal aborted; then it is given up. */
export const abortGraceMs = 1_000;

/** How long a run whose tick or turn Redis did not take is held, in ms, before it waits again. */
const claimAgainMs = 1_000;

/** Which run the code that is executing belongs to: how a stray rejection finds its run. */
export const currentRun = new AsyncLocalStorage<ActiveRun>();

/** The way of one attempt: what it answers or throws is BullMQ's to store. */
export async function execute(run: ActiveRun, ticks: Ticks, turns: Turns, report: Report): Promise<unknown> {
  const nothing = run.facts.schedule === undefined ? null : await claim(run, ticks, report);
  const outcome = run.decide(nothing ?? (await carryOut(run, turns, report)));
  if (outcome.type === 'interrupted' && run.begun) await turns.noteBegun(run);
  return settle(outcome, run);
}

/** Is told why a run is held. */
type Report = (error: Error) => void;

/** Before anything else: whatever happens to the run from here on, its tick is accounted for. */
async function claim(run: ActiveRun, ticks: Ticks, report: Report): Promise<Outcome | null> {
  const found = await ticks.claim(run.job, run.startedAtMs).catch((error: Error) => waitOn(error, report));
  if ('type' in found) return found;
  if ('tick' in found) {
    run.claimed(found.tick);
    return found.cancelledBy === null ? null : cancelled(found.cancelledBy);
  }
  return leave(run, { type: 'skipped', reason: found.nothing });
}

function carryOut(run: ActiveRun, turns: Turns, report: Report): Outcome | Promise<Outcome> {
  const barred = admit(run);
  if (!barred) return proceed(run, turns, report);
  return barred.type === 'skipped' ? unlessBegun(run, barred, turns, report) : barred;
}

/** It is too late to start, but not to go on. */
async function unlessBegun(run: ActiveRun, barred: Outcome, turns: Turns, report: Report): Promise<Outcome> {
  const begun = await turns.hasBegun(run).catch((error: Error) => waitOn(error, report));
  if (typeof begun !== 'boolean') return begun;
  return begun ? proceed(run, turns, report) : leave(run, barred);
}

function proceed(run: ActiveRun, turns: Turns, report: Report): Outcome | Promise<Outcome> {
  const payload = readStored(run.definition, run.job.data, versionOf(run.job));
  // What the schema refuses now it will refuse at every attempt.
  if (payload.refused) return failure(payload.refused);
  return mayOverlap(run) ? attempt(run, payload.value) : attemptInTurn(run, payload.value, turns, report);
}

async function attemptInTurn(run: ActiveRun, payload: unknown, turns: Turns, report: Report): Promise<Outcome> {
  const instead = await turns.take(run).catch((error: Error) => waitOn(error, report));
  return instead ? leave(run, instead) : attempt(run, payload);
}

/** Redis did not take it: the run waits on, and costs no attempt. */
async function waitOn(error: Error, report: Report): Promise<Outcome> {
  report(error);
  await until(Date.now() + claimAgainMs);
  return { type: 'interrupted' };
}

/** Of a tick that was not run nothing is kept but the ledger's word. */
function leave(run: ActiveRun, outcome: Outcome): Outcome {
  if (run.facts.schedule !== undefined) run.job.opts.removeOnComplete = true;
  return outcome;
}

function mayOverlap({ job }: ActiveRun): boolean {
  return (job.opts as RunOptions).overlap === undefined;
}

function attempt(run: ActiveRun, payload: unknown): Promise<Outcome> {
  const handler = () => {
    run.begun = true;
    run.emit({ type: 'run.started', ...run.facts });
    return run.definition.run(new RunContext(run, payload));
  };
  return currentRun.run(run, () => run.race(handler));
}
