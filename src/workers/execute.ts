import { AsyncLocalStorage } from 'node:async_hooks';
import { readPayload } from '../jobs/payload.js';
import { type ActiveRun, RunContext } from './active-run.js';
import { admit } from './admit.js';
import { failure, type Outcome, settle } from './outcome.js';

/** How long a handler has, in ms, to end after its signal aborted; then it is given up. */
export const abortGraceMs = 1_000;

/** Which run the code that is executing belongs to: how a stray rejection finds its run. */
export const currentRun = new AsyncLocalStorage<ActiveRun>();

/** The way of one attempt: what it answers or throws is BullMQ's to store. */
export async function execute(run: ActiveRun, now: number): Promise<unknown> {
  const payload = readPayload(run.definition, run.job.data);
  // What the schema refuses now it will refuse at every attempt.
  const refused = payload.refused && failure(payload.refused);
  const outcome = refused ?? admit(run.job, now) ?? (await attempt(run, payload.value));
  return settle(run.decide(outcome), run);
}

function attempt(run: ActiveRun, payload: unknown): Promise<Outcome> {
  const handler = () => {
    run.emit({ type: 'run.started', ...run.facts });
    return run.definition.run(new RunContext(run, payload));
  };
  return currentRun.run(run, () => run.race(handler));
}
