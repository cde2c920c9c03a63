import { DelayedError, type Job, UnrecoverableError, WaitingError } from 'bullmq';
import { type ErrorCode, RondoError } from '../errors.js';
import type { JobDefinition } from '../jobs/define-job.js';
import type { Emit, RunFacts } from '../jobs/events.js';
import { show } from '../problems.js';

/** What became of one attempt. */
export type Outcome =
  | { readonly type: 'succeeded'; readonly result: unknown }
  | { readonly type: 'skipped'; readonly reason: string }
  /** Another run of its schedule is for it too. */
  | { readonly type: 'coalesced'; readonly reason: string }
  | { readonly type: 'failed'; readonly error: Error; readonly retryable: boolean }
  | { readonly type: 'timed-out'; readonly error: RondoError }
  | { readonly type: 'cancelled'; readonly by: string; readonly error: RondoError }
  /** It waits for its turn, in nobody's way. `lookAgain` is for a turn that has come meanwhile. */
  | { readonly type: 'parked'; readonly lookAgain: () => Promise<void> }
  /** The process stops: the run goes back to where it waited, and the attempt does not count. */
  | { readonly type: 'interrupted' }
  /** Its payload is of a version that only newer code knows: it waits for that. Costs no attempt either. */
  | { readonly type: 'too-new'; readonly version: number; readonly forMs: number }
  /** Another worker has the run now, or will have: nothing of ours may be written. */
  | { readonly type: 'lock-lost'; readonly error: RondoError };

/** Translates an outcome into what BullMQ understands: a return value or one of its errors. The only place that does. */
export function settle(outcome: Outcome, run: Settling): unknown {
  switch (outcome.type) {
    case 'succeeded':
      return outcome.result;
    case 'skipped':
    case 'coalesced':
      return { skipped: outcome.reason };
    case 'failed':
      throw outcome.retryable ? outcome.error : unrecoverable(outcome.error);
    case 'timed-out':
    case 'lock-lost':
      throw outcome.error;
    case 'cancelled':
      throw unrecoverable(outcome.error);
    case 'parked':
      return park(run, outcome.lookAgain);
    case 'interrupted':
      return putBack(run);
    case 'too-new':
      return waitForNewer(outcome, run);
  }
}

/** What of a run settling takes. */
interface Settling {
  readonly job: Job;
  readonly token: string | undefined;
  readonly definition: JobDefinition;
  readonly facts: RunFacts;
  readonly durationMs: number;
  readonly emit: Emit;
}

async function putBack({ job, token, facts, durationMs, emit }: Settling): Promise<never> {
  await job.moveToWait(token);
  emit({ type: 'run.interrupted', durationMs, ...facts });
  throw new WaitingError();
}

/** Until it is woken; this long, in ms, where nobody does. */
const parkedMs = 600_000;

async function park({ job, token, facts, emit }: Settling, lookAgain: () => Promise<void>): Promise<never> {
  await job.moveToDelayed(Date.now() + parkedMs, token);
  emit({ type: 'run.parked', ...facts });
  await lookAgain().catch(() => {}); // the producer will
  throw new DelayedError();
}

async function waitForNewer(
  { version, forMs }: Extract<Outcome, { type: 'too-new' }>,
  { job, token, definition, emit }: Settling,
): Promise<never> {
  await job.moveToDelayed(Date.now() + forMs, token);
  emit({ type: 'worker.outdated', job: definition.name, version, knows: definition.version });
  throw new DelayedError();
}

export function success(result: unknown): Outcome {
  return { type: 'succeeded', result };
}

export function timedOut({ definition }: { definition: JobDefinition }): Extract<Outcome, { type: 'timed-out' }> {
  return { type: 'timed-out', error: new RondoError('run-timed-out', `${definition.timeout} ms`) };
}

export function cancelled(by: string): Extract<Outcome, { type: 'cancelled' }> {
  return { type: 'cancelled', by, error: new RondoError('run-cancelled', `by ${by}`) };
}

/** A handler may throw anything; whether a retry can help is its own to say, with `retryable: false`. */
export function failure(thrown: unknown): Outcome {
  const error = thrown instanceof Error ? thrown : new Error(`the handler threw ${show(thrown)}`);
  const { retryable } = error as { retryable?: unknown };
  return { type: 'failed', error, retryable: retryable !== false && error.name !== 'UnrecoverableError' };
}

/** The code of one of our own errors, through BullMQ's wrapping; null for a handler's. */
export function codeOf(error: Error): ErrorCode | null {
  if (error instanceof RondoError) return error.code;
  return error.cause instanceof Error ? codeOf(error.cause) : null;
}

function unrecoverable(error: Error): UnrecoverableError {
  const final = new UnrecoverableError(error.message);
  final.stack = error.stack;
  final.cause = error;
  return final;
}
