import { AsyncLocalStorage } from 'node:async_hooks';
import { RondoError } from '../errors.js';
import { problemsOf } from '../problems.js';
import { type ActiveRun, RunContext } from './active-run.js';
import { admit } from './admit.js';
import { failure, type Outcome, settle } from './outcome.js';

/** How long a handler has, in ms, to end after its signal aborted; then it is given up. */
export const abortGraceMs = 1_000;

/** Which run the code that is executing belongs to: how a stray rejection finds its run. */
export const currentRun = new AsyncLocalStorage<ActiveRun>();

/** The way of one attempt: what it answers or throws is BullMQ's to store. */
export async function execute(run: ActiveRun, now: number): Promise<unknown> {
  const payload = parse(run);
  const outcome = payload.refused ?? admit(run.job, now) ?? (await attempt(run, payload.value));
  run.outcome = outcome;
  return settle(outcome, run.job, run.token);
}

type Parsed =
  | { readonly refused: Outcome; readonly value?: never }
  | { readonly refused: null; readonly value: unknown };

/** A payload that its schema refuses will be refused at every attempt. */
function parse({ definition, job }: ActiveRun): Parsed {
  try {
    const read = definition.payload.safeParse(job.data);
    if (read.success) return { refused: null, value: read.data };
    const problems = problemsOf(read.error, job.data, { at: 'payload' });
    return { refused: failure(new RondoError('payload-invalid', definition.name, { problems })) };
  } catch (cause) {
    const detail = `${definition.name}: the schema failed to read it: ${String(cause)}`;
    return { refused: failure(new RondoError('payload-invalid', detail, { cause })) };
  }
}

async function attempt(run: ActiveRun, payload: unknown): Promise<Outcome> {
  const { definition } = run;
  run.emit({ type: 'run.started', ...run.facts });
  const timer = setTimeout(() => timeOut(run), definition.timeout);
  const outcome = await run.race(currentRun.run(run, () => handle(run, payload)));
  clearTimeout(timer);
  return outcome;
}

/** An async function, so that a synchronous throw is a rejection like any other. */
async function handle(run: ActiveRun, payload: unknown): Promise<Outcome> {
  try {
    return { type: 'succeeded', result: await run.definition.run(new RunContext(run, payload)) };
  } catch (thrown) {
    return failure(thrown);
  }
}

function timeOut(run: ActiveRun): void {
  const error = new RondoError('run-timed-out', `${run.definition.timeout} ms`);
  run.stop({ type: 'timed-out', error }, error, abortGraceMs);
}
