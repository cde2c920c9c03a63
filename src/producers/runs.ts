import type { Job, JobState, JobType, Queue } from 'bullmq';
import { backfillOf } from '../broker/lane.js';
import { ledgerKeys } from '../broker/ledger-format.js';
import { type Broker, versionOf } from '../broker/queues.js';
import { caughtUpId, scheduleOf, tickOf } from '../broker/repeat.js';
import { codeInStack, RondoError } from '../errors.js';
import type { JobDefinition } from '../jobs/define-job.js';
import type { Registry } from '../jobs/registry.js';
import type { Redactor } from '../jobs/secrets.js';
import { isoMs } from '../jobs/words.js';
import { definitionOf, knownJob, type Undeclared } from './gone-jobs.js';
import { type RunOrigin, type RunState, type RunView, runStates } from './run-view.js';
import { redactorOfRun, shownPayload } from './shown.js';

export { enqueue } from './enqueue.js';

/** @throws RondoError `run-unknown` */
export async function findRun(
  broker: Broker,
  job: JobDefinition | Undeclared,
  id: string,
): Promise<RunView & { readonly log: readonly string[] }> {
  const queue = broker.queue(job.name);
  // The state first: beside the runs lie keys of other kinds, which an id may name.
  const state = await queue.getJobState(id);
  const found: Job | undefined = state === 'unknown' ? undefined : await queue.getJob(id);
  if (!found) throw new RondoError('run-unknown', `${job.name} ${id}`);
  const { logs } = await queue.getJobLogs(id);
  const definition = definitionOf(job);
  const { text } = redactorOfRun(definition, found);
  return { ...(await viewOf(broker, definition, found, stateOf(state))), log: logs.map(text) };
}

/** The run of an id: beside the runs lie keys of other kinds, which an id may name. */
export async function jobAt(queue: Queue, id: string): Promise<Job | undefined> {
  return (await queue.getJobState(id)) === 'unknown' ? undefined : queue.getJob(id);
}

/** Hides a run's secrets in what is told of it while it executes. @throws RondoError `run-unknown` */
export async function readRedactor(broker: Broker, job: JobDefinition | Undeclared, id: string): Promise<Redactor> {
  const found = await jobAt(broker.queue(job.name), id);
  if (!found) throw new RondoError('run-unknown', `${job.name} ${id}`);
  return redactorOfRun(definitionOf(job), found);
}

/** The newest runs of one job or of all, in one state or in any; of the delayed ones the soonest. At most `limit`. */
export async function listRuns(
  broker: Broker,
  registry: Registry,
  { job, state, limit = 20 }: { job?: string; state?: RunState; limit?: number } = {},
): Promise<RunView[]> {
  const names = job ? [(await knownJob(broker, registry, job)).name] : registry.jobs.map(({ name }) => name);
  const states = state ? [state] : runStates;
  const lists = await Promise.all(
    names.flatMap((name) =>
      states.map(async (wanted) => {
        const soonestFirst = wanted === 'delayed';
        const found = await broker.queue(name).getJobs([...bullStates[wanted]], 0, limit - 1, soonestFirst);
        const known = registry.find(name);
        return Promise.all(found.filter(Boolean).map((run) => viewOf(broker, known, run, wanted)));
      }),
    ),
  );
  const order = state === 'delayed' ? -1 : 1;
  return lists
    .flat()
    .sort((a, b) => (a.dueAt < b.dueAt ? order : -order))
    .slice(0, limit);
}

const bullStates: Record<RunState, readonly JobType[]> = {
  waiting: ['wait', 'prioritized'],
  delayed: ['delayed'],
  active: ['active'],
  completed: ['completed'],
  failed: ['failed'],
};

function stateOf(state: JobState | 'unknown'): RunState {
  const known = runStates.find((name) => name === state);
  return known ?? 'waiting';
}

export async function viewOf(
  broker: Broker,
  job: JobDefinition | undefined,
  run: Job,
  state: RunState,
): Promise<RunView> {
  const { origin, schedule, tick } = await originOf(broker, run);
  const { text, value } = redactorOfRun(job, run);
  return {
    id: String(run.id),
    job: run.queueName,
    state,
    origin,
    schedule,
    tick: tick === null ? null : isoMs(tick),
    attempts: run.attemptsMade,
    maxAttempts: run.opts.attempts ?? 1,
    payload: shownPayload(job, run),
    version: versionOf(run),
    progress: value(run.progress),
    result: value(run.returnvalue ?? null),
    error: run.failedReason ? text(run.failedReason) : null,
    code: run.failedReason ? codeInStack(run.stacktrace?.at(-1)) : null,
    enqueuedAt: isoMs(run.timestamp),
    // One that is parked is due as soon as there is room.
    dueAt: isoMs(run.timestamp + (backfillOf(run) ? 0 : (run.opts.delay ?? 0))),
    startedAt: run.processedOn ? isoMs(run.processedOn) : null,
    finishedAt: run.finishedOn ? isoMs(run.finishedOn) : null,
  };
}

interface Origin {
  readonly origin: RunOrigin;
  readonly schedule: string | null;
  readonly tick: number | null;
}

async function originOf(broker: Broker, run: Job): Promise<Origin> {
  const id = String(run.id);
  const named = tickOf(run);
  if (!named) {
    const schedule = scheduleOf(run);
    return { origin: schedule ? 'triggered' : 'ad-hoc', schedule, tick: null };
  }
  const { schedule, time } = named;
  if (backfillOf(run)) return { origin: 'backfilled', schedule, tick: time };
  if (id === caughtUpId(schedule, time)) return { origin: 'caught-up', schedule, tick: time };
  // A run that was found late carries a later tick than the one it is named after.
  const claimed = await broker.client.hget(ledgerKeys(broker, { job: run.queueName, schedule }).run(id), 'tick');
  return { origin: 'scheduled', schedule, tick: claimed ? Number(claimed) : time };
}
