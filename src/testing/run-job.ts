import { randomUUID } from 'node:crypto';
import { RondoError } from '../errors.js';
import { childIds } from '../jobs/child-id.js';
import type { EnqueueFromRunOptions, EnqueueRun, JobContext, JobLogger, LogLine } from '../jobs/context.js';
import { isJobDefinition, type JobDefinition, mustBeEnabled } from '../jobs/define-job.js';
import { readFromRunOptions } from '../jobs/enqueue-from-run.js';
import { type MemoryStore, memoryIn, onceIn } from '../jobs/memory.js';
import { readPayload, readStored } from '../jobs/payload.js';

export interface RunOptions {
  /** Counts from 1: which attempt the handler is to believe this is. */
  readonly attempt?: number;
  /** The tick that the run is for; the first schedule of the job, unless one is named. Ad-hoc unless told. */
  readonly tick?: string | Date | { readonly schedule: string; readonly time: string | Date };
  /** What the run's clock shows: its deadline follows from it. The handler's own clock is not touched. */
  readonly now?: string | Date;
  /** The version that the payload was enqueued with; the job's own unless told. A lower one is migrated. */
  readonly version?: number;
  /** The fence of a policy of overlap. */
  readonly fence?: number;
  readonly id?: string;
  /**
   * What earlier attempts of the run left, and what this one adds to it, also where it throws: give the same object to
   * the next attempt.
   */
  readonly left?: LeftByRun;
  /** Aborts the run's signal with its reason, as a stop or a cancellation does. */
  readonly signal?: AbortSignal;
}

/** What the attempts of a run left in Redis, had they one. */
export interface LeftByRun {
  /** What was written last. */
  checkpoint?: unknown;
  /** By its key, what was done once. */
  once?: Record<string, unknown>;
  /** One for each run, however many attempts asked for it. */
  enqueued?: EnqueuedInTest[];
}

export interface EnqueuedInTest {
  readonly id: string;
  readonly job: string;
  readonly payload: unknown;
  readonly options: EnqueueFromRunOptions;
}

/** What an attempt left behind, beside what its handler did to the world. */
export interface FinishedRun<Result> extends Required<Pick<LeftByRun, 'enqueued' | 'once'>> {
  readonly checkpoint: unknown;
  readonly result: Result;
  readonly log: readonly LoggedLine[];
  /** Each value that it reported, in order. */
  readonly progress: readonly (number | Record<string, unknown>)[];
}

export interface LoggedLine {
  readonly level: keyof JobLogger;
  readonly message: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

/**
 * Runs a job's handler once, with a whole context and without a Redis. The payload goes the way of every payload: it is
 * migrated, and read by the schema. The signal aborts at the job's timeout, in real time.
 *
 * @throws RondoError `payload-invalid`, `payload-unmigrated`, `jobs-invalid` for a wrong definition, `run-timed-out`;
 *   and what the handler throws
 */
export async function runJob<Payload, Result, Input>(
  job: JobDefinition<Payload, Result, Input>,
  payload: Input,
  options: RunOptions = {},
): Promise<FinishedRun<Awaited<Result>>> {
  if (job.problems.length > 0) throw new RondoError('jobs-invalid', '', { problems: job.problems });
  const read = readStored(job as unknown as JobDefinition, payload, options.version ?? job.version);
  if (read.refused) throw read.refused;
  const { left = {} } = options;
  const log: LoggedLine[] = [];
  const progress: (number | Record<string, unknown>)[] = [];
  const ends = new AbortController();
  const timer = setTimeout(() => ends.abort(new RondoError('run-timed-out', job.name)), Math.min(job.timeout, longest));
  try {
    const context: JobContext<Payload> = {
      ...factsOf(job, options),
      ...memoryIn(storeOf(left)),
      enqueue: enqueueInto(left, job.name),
      payload: read.value as Payload,
      signal: options.signal ? AbortSignal.any([options.signal, ends.signal]) : ends.signal,
      traceparent: null,
      log: loggerInto(log),
      progress: async (value) => void progress.push(structuredClone(value)),
    };
    const result = await Promise.race([job.run(context), rejectedBy(ends.signal)]);
    const { checkpoint, once = {}, enqueued = [] } = left;
    return { result: result as Awaited<Result>, log, progress, checkpoint, once, enqueued };
  } finally {
    clearTimeout(timer);
  }
}

/** The longest that a timer of Node.js waits, in ms. */
const longest = 2 ** 31 - 1;

function factsOf<Payload, Result, Input>(
  job: JobDefinition<Payload, Result, Input>,
  { attempt = 1, tick, now = new Date(), fence = null as never, id }: RunOptions,
): Pick<JobContext, 'run' | 'tick' | 'deadline'> {
  const startedAt = momentOf(now, 'now');
  const found = tick === undefined ? null : tickOf(job.schedules[0]?.id, tick);
  return {
    run: {
      id: id ?? (found ? `repeat:${found.schedule}:${found.time.getTime()}` : randomUUID()),
      job: job.name,
      attempt: positive(attempt, 'attempt'),
      maxAttempts: Math.max(job.retry.attempts, attempt),
      enqueuedAt: startedAt,
      fence,
    },
    tick: found,
    deadline: new Date(startedAt.getTime() + job.timeout),
  };
}

function tickOf(first: string | undefined, tick: NonNullable<RunOptions['tick']>) {
  if (typeof tick === 'object' && 'schedule' in tick) {
    return { schedule: tick.schedule, time: momentOf(tick.time, 'tick.time') };
  }
  if (first === undefined) throw new RangeError('tick: the job has no schedule: name one, as { schedule, time }');
  return { schedule: first, time: momentOf(tick, 'tick') };
}

function momentOf(value: string | Date, name: string): Date {
  const moment = new Date(value);
  if (Number.isNaN(moment.getTime())) throw new RangeError(`${name}: expected a Date or an ISO time; got ${value}`);
  return moment;
}

function positive(value: number, name: string): number {
  if (Number.isInteger(value) && value > 0) return value;
  throw new RangeError(`${name}: expected a whole number from 1; got ${value}`);
}

function loggerInto(log: LoggedLine[]): JobLogger {
  const lineOf =
    (level: keyof JobLogger): LogLine =>
    (first: string | Record<string, unknown>, second?: string) => {
      const [facts, message] = typeof first === 'string' ? [{}, first] : [first, second ?? ''];
      log.push({ level, message, facts });
    };
  return { debug: lineOf('debug'), info: lineOf('info'), warn: lineOf('warn'), error: lineOf('error') };
}

/** As in Redis: values that JSON has a form of, and copies of them. */
function storeOf(left: LeftByRun): MemoryStore {
  const textOf = (value: unknown) => (value === undefined ? '' : JSON.stringify(value));
  return {
    async read(field) {
      const key = onceIn(field);
      const { once = {} } = left;
      const found = key === null ? 'checkpoint' in left : Object.hasOwn(once, key);
      const value = key === null ? left.checkpoint : once[key];
      return { text: found ? textOf(value) : null, fields: Object.keys(once).length };
    },
    async write(field, text) {
      const key = onceIn(field);
      const value: unknown = text === '' ? undefined : JSON.parse(text);
      if (key === null) left.checkpoint = value;
      else left.once = { ...left.once, [key]: value };
    },
  };
}

/** Of a job that is named nothing is known here: its payload is not read. What a run has left is which run it is. */
function enqueueInto(left: LeftByRun, job: string): EnqueueRun {
  const idOf = childIds({ id: '', job, enqueuedAt: 0 });
  return async (target: string | { readonly name: string }, payload: unknown = {}, options = {}) => {
    const known = isJobDefinition(target) ? target : null;
    const { key } = readFromRunOptions(options, Date.now());
    if (known) mustBeEnabled(known);
    const { refused } = known ? readPayload(known, payload) : { refused: null };
    if (refused) throw refused;
    const name = typeof target === 'string' ? target : target.name;
    const child = idOf({ name, secret: known?.secret ?? [] }, payload, key);
    left.enqueued ??= [];
    if (left.enqueued.every(({ id }) => id !== child)) {
      left.enqueued.push({ id: child, job: name, payload: structuredClone(payload), options });
    }
    return { id: child, job: name };
  };
}

/** A handler that ignores its signal is given up all the same. */
function rejectedBy(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}
