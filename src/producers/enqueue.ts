import { randomUUID } from 'node:crypto';
import type { Queue } from 'bullmq';
import { type Broker, type RunOptions, runOptions } from '../broker/queues.js';
import { createScript } from '../broker/scripts.js';
import { type Problem, RondoError } from '../errors.js';
import type { Deduplicate } from '../jobs/deduplicate.js';
import { type JobDefinition, mustBeEnabled } from '../jobs/define-job.js';
import type { EnqueueOptions } from '../jobs/enqueue-options.js';
import { readPayload } from '../jobs/payload.js';
import { addWithin } from './backlog.js';
import { chunks } from './chunks.js';

/** What a caller that may ask twice for the same runs gives along. */
export interface Ticket {
  /** The id of each run, so that whoever adds it once more adds nothing. */
  idOf(index: number): string;
  /** Somebody may have added some of them before: the job's bound let them in then. */
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
  const data = payload ?? {};
  const { refused } = readPayload(job, data);
  if (refused) throw refused;
  const stored = storedAs(job, options, ticket?.idOf(0));
  const queue = broker.queue(job.name);
  const add = () => queue.add(job.name, data, stored);
  const added = ticket?.again ? await add() : await addWithin(queue, job, add);
  return settled(broker, queue, { data, stored }, String(added.id));
}

/**
 * Puts many runs into their job's queue, a thousand with each call to Redis. Nothing is added where the job's bound, or
 * a payload, stands against any of them.
 *
 * @param bounded is given each call to Redis, to give up waiting for it
 * @returns what became of each, in order
 * @throws RondoError `job-disabled`, `request-invalid` with each refused payload's index, or `queue-full`
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
    data: payload ?? {},
    stored: storedAs(job, options, ticket?.idOf(index)),
  }));
  const queue = broker.queue(job.name);
  const add = () => addAll(broker, queue, runs, bounded);
  const now = items.filter(({ options }) => !options.delay).length;
  return ticket?.again ? add() : addWithin(queue, job, add, { runs: Math.max(1, now), bounded });
}

/** What the schema refuses of one payload among many. */
export function payloadProblems(job: JobDefinition, payload: unknown, index: number): Problem[] {
  const { refused } = readPayload(job, payload ?? {});
  if (!refused) return [];
  const at = `runs[${index}].`;
  if (refused.problems.length > 0) return refused.problems.map((it) => ({ ...it, where: at + it.where }));
  return [{ where: `${at}payload`, expected: 'what the schema of the job can read', got: refused.detail }];
}

/** All or nothing: says which of them stand against the rest. */
export function bulkRefused(problems: readonly Problem[], total: number): RondoError {
  const refused = new Set(problems.map(({ where }) => /^runs\[\d+\]/.exec(where)?.[0] ?? where)).size;
  const detail = `${refused} of ${total} runs are refused, and so none is enqueued`;
  return new RondoError('request-invalid', detail, { problems });
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
