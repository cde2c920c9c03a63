import { randomUUID } from 'node:crypto';
import type { Queue } from 'bullmq';
import { type Broker, type RunOptions, runOptions } from '../broker/queues.js';
import { createScript } from '../broker/scripts.js';
import { type Problem, RondoError } from '../errors.js';
import type { Deduplicate } from '../jobs/deduplicate.js';
import { type JobDefinition, mustBeEnabled } from '../jobs/define-job.js';
import type { EnqueueOptions } from '../jobs/enqueue-options.js';
import { readPayload } from '../jobs/payload.js';
import { furtherProblems } from '../problems.js';
import { addWithin } from './backlog.js';
import { chunks } from './chunks.js';

/** What a caller that may ask twice for the same runs gives along. */
export interface Ticket {
  /** The id of each run, so that whoever adds it once more adds nothing. */
  idOf(index: number): string;
  /** Somebody may have added some of them before. Where that is so the job's bound let them in then, and does again. */
  readonly again: boolean;
}

export interface Enqueued {
  readonly id: string;
  /** It is an earlier run, which stands for this one. */
  readonly deduplicated: boolean;
}

export interface BulkItem {
  readonly payload: unknown;
  readonly options: EnqueueOptions;
}

/** How many runs a bulk has at most. */
export const mostInBulk = 5_000;

/** For how long a run that was asked for with a ticket is not added again, in ms. */
export const ticketMs = 86_400_000;

/**
 * Puts a run into its job's queue. The payload is stored as it came; the schema reads it again when it runs.
 *
 * @returns the run's id
 * @throws RondoError `job-disabled`, `payload-invalid` with what the schema refused, `queue-full`, or `run-invalid`
 */
export async function enqueue(
  broker: Broker,
  job: JobDefinition,
  payload: unknown,
  options: EnqueueOptions = {},
): Promise<string> {
  return (await enqueueRun(broker, job, { payload, options })).id;
}

/** Does so, and tells whether an earlier run stands for this one. */
export async function enqueueRun(
  broker: Broker,
  job: JobDefinition,
  { payload, options }: BulkItem,
  ticket?: Ticket,
): Promise<Enqueued> {
  mustBeEnabled(job);
  const data = dataOf(job, payload);
  const { refused } = readPayload(job, data);
  if (refused) throw refused;
  const stored = storedAs(job, options, ticket?.idOf(0));
  const queue = broker.queue(job.name);
  const add = () => queue.add(job.name, data, stored);
  const isIn = ticket?.again === true && (await wasLetIn(broker, job, [stored]));
  const added = isIn ? await add() : await addWithin(queue, job, add);
  return settled(broker, queue, { data, stored }, String(added.id));
}

/**
 * Puts many runs into their job's queue, a thousand with each call to Redis. Nothing is added where the job's bound, or
 * a payload, stands against any of them.
 *
 * @param bounded is given each call to Redis, to give up waiting for it
 * @returns what became of each, in order
 * @throws RondoError `job-disabled`, `request-invalid` with each refused payload's index, or where more are to wait than
 *   the bound allows at any time, or `queue-full`
 */
export async function enqueueBulk(
  broker: Broker,
  job: JobDefinition,
  items: readonly BulkItem[],
  { ticket, bounded = (work) => work }: { ticket?: Ticket | undefined; bounded?: Bounded } = {},
): Promise<Enqueued[]> {
  mustBeEnabled(job);
  const problems = items.flatMap(({ payload }, index) => payloadProblems(job, payload, index));
  if (problems.length > 0) throw bulkRefused(problems, items.length);
  const runs = items.map(({ payload, options }, index) => ({
    data: dataOf(job, payload),
    stored: storedAs(job, options, ticket?.idOf(index)),
  }));
  const queue = broker.queue(job.name);
  const add = () => addAll(broker, queue, runs, bounded);
  const stored = runs.map((run) => run.stored);
  if (ticket?.again && (await wasLetIn(broker, job, stored, bounded))) return add();
  const waiting = waitingAmong(stored);
  if (job.maxWaiting !== null && waiting > job.maxWaiting) throw neverFits(waiting, job.maxWaiting);
  return addWithin(queue, job, add, { runs: Math.max(1, waiting), bounded });
}

/** What the schema refuses of one payload among many. */
export function payloadProblems(job: JobDefinition, payload: unknown, index: number): Problem[] {
  const { refused } = readPayload(job, dataOf(job, payload));
  if (!refused) return [];
  const at = `runs[${index}].`;
  if (refused.problems.length > 0) {
    const told = refused.problems.slice(0, mostOfRun).map((it) => ({ ...it, where: at + it.where }));
    if (refused.problems.length <= mostOfRun) return told;
    return [...told, furtherProblems('more in this run', `runs[${index}]`)];
  }
  return [{ where: `${at}payload`, expected: 'what the schema of the job can read', got: refused.detail }];
}

/** How many problems are told of one run of a bulk, and of all of them: each that is refused is named in any case. */
export const mostOfRun = 20;
const mostOfAll = mostInBulk;

/** All or nothing: says which of them stand against the rest. */
export function bulkRefused(problems: readonly Problem[], total: number): RondoError {
  const refused = new Map<string, Problem[]>();
  for (const problem of problems) {
    const run = /^runs\[\d+\]/.exec(problem.where)?.[0] ?? problem.where;
    const its = refused.get(run);
    if (its) its.push(problem);
    else refused.set(run, [problem]);
  }
  const detail = `${refused.size} of ${total} runs are refused, and so none is enqueued`;
  if (problems.length <= mostOfAll) return new RondoError('request-invalid', detail, { problems });
  const share = Math.max(1, Math.floor(mostOfAll / refused.size));
  const told = [...refused.values()].flatMap((its) => its.slice(0, share));
  return new RondoError('request-invalid', detail, { problems: [...told, furtherProblems('more in these runs')] });
}

function neverFits(waiting: number, maxWaiting: number): RondoError {
  const expected = `at most ${maxWaiting} that are to start now, as many as may wait`;
  return new RondoError('request-invalid', '', { problems: [{ where: 'runs', expected, got: String(waiting) }] });
}

/** How many are to wait for a worker: a debounced run is delayed, and of a key that throttles one run is added. */
function waitingAmong(runs: readonly RunOptions[]): number {
  const now = runs.filter(({ delay }) => !delay);
  return new Set(now.map(({ deduplication }, index) => deduplication?.id ?? index)).size;
}

/**
 * Whether a run is there that somebody has added before, or the key by which BullMQ remembers it for a day: only what
 * the job's bound had let in left either.
 */
async function wasLetIn(
  { client, queue }: Broker,
  { name, maxWaiting }: JobDefinition,
  runs: readonly RunOptions[],
  bounded: Bounded = (work) => work,
): Promise<boolean> {
  if (maxWaiting === null) return true;
  const ids = runs.map(({ jobId }) => String(jobId));
  for (const batch of chunks(ids, bulkSize)) {
    const keys = batch.flatMap((id) => [id, `de:${id}`]).map((key) => queue(name).toKey(key));
    if ((await bounded(client.exists(...keys))) > 0) return true;
  }
  return false;
}

/** Nothing is no input, which an object without fields stands for; so is null, but for jobs that take it. */
export function dataOf(job: JobDefinition, payload: unknown): unknown {
  const isNothing = payload === undefined || (payload === null && readPayload(job, null).refused !== null);
  return isNothing ? {} : payload;
}

type Bounded = <Answer>(work: Promise<Answer>) => Promise<Answer>;

interface Run {
  readonly data: unknown;
  readonly stored: RunOptions;
}

const bulkSize = 1_000;

async function addAll(broker: Broker, queue: Queue, runs: readonly Run[], bounded: Bounded): Promise<Enqueued[]> {
  const enqueued: Enqueued[] = [];
  for (const batch of chunks(runs, bulkSize)) {
    const added = await bounded(
      queue.addBulk(batch.map(({ data, stored }) => ({ name: queue.name, data, opts: stored }))),
    );
    const settling = batch.map((run, index) => settled(broker, queue, run, String(added[index]?.id)));
    enqueued.push(...(await bounded(Promise.all(settling))));
  }
  return enqueued;
}

/**
 * What BullMQ's answer means. A debounced run that has begun, or waits for a worker, takes no other payload any more:
 * BullMQ would drop what came now, and so the key is taken from it and the run added after all.
 */
async function settled(broker: Broker, queue: Queue, { data, stored }: Run, answered: string): Promise<Enqueued> {
  const { deduplication, jobId } = stored;
  let id = answered;
  for (let turn = 0; deduplication?.replace && id !== jobId && turn < 5; turn++) {
    await releaseScript(broker.client, [queue.toKey(`de:${deduplication.id}`)], [id]);
    id = String((await queue.add(queue.name, data, stored)).id);
  }
  return { id, deduplicated: jobId !== undefined && id !== jobId };
}

const releaseScript = createScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end`);

function storedAs(job: JobDefinition, options: EnqueueOptions, id: string | undefined): RunOptions {
  const { expiresIn, deduplicate, ...overrides } = options;
  return {
    ...runOptions(job),
    ...overrides,
    ...(expiresIn !== undefined && { expiresIn }),
    ...(deduplicate ? { jobId: id ?? randomUUID(), ...inBullMQ(deduplicate) } : id !== undefined && onlyOnce(id)),
  };
}

/** An id of our own, by which an answer that names another run is told apart. */
function inBullMQ({ key, mode, ttl }: Deduplicate): Pick<RunOptions, 'deduplication' | 'delay'> {
  if (mode === 'throttle') return { deduplication: { id: key, ...(ttl !== undefined && { ttl }) } };
  return { delay: ttl, deduplication: { id: key, ttl, extend: true, replace: true } };
}

/**
 * BullMQ forgets an id together with its run, which may be soon; a deduplication key of a time stays, and is set in the
 * very step that adds the run.
 */
function onlyOnce(id: string): Pick<RunOptions, 'jobId' | 'deduplication'> {
  return { jobId: id, deduplication: { id, ttl: ticketMs } };
}
