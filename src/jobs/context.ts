import type { z } from 'zod';
import type { Duration } from '../duration.js';

/** What a handler gets: one argument that says what to do, which run this is, and until when. */
export interface JobContext<Payload = unknown> {
  readonly payload: Payload;
  readonly run: {
    readonly id: string;
    readonly job: string;
    /** Counts from 1. */
    readonly attempt: number;
    readonly maxAttempts: number;
    readonly enqueuedAt: Date;
    /**
     * Under a policy of overlap a number that rises with every start of a run of the schedule: a system that refuses
     * a lower one than it has seen is safe from a process that froze, and wakes up when another has taken over. Null
     * where runs may overlap.
     */
    readonly fence: number | null;
  };
  /** The tick that this run is for; null for an ad-hoc run. */
  readonly tick: { readonly schedule: string; readonly time: Date } | null;
  /** Aborts at the deadline, when the process stops, and when the hold on the run is lost; `reason` says which. */
  readonly signal: AbortSignal;
  readonly deadline: Date;
  /**
   * The span that the code belongs to that reads it, as the header of W3C Trace Context: what is sent along with a request
   * makes that a part of the run's trace. Null where nothing is traced.
   */
  readonly traceparent: string | null;
  /** Lines go to the process's log and, from `info` up, to the run's own, 1,000 kept. */
  readonly log: JobLogger;
  /** Reports how far the run is, as a share of 0 to 100 or as facts of your own. Resolves when it is stored. */
  progress(value: number | Record<string, unknown>): Promise<void>;
  /** Puts a run of another job into its queue: another attempt of this run that asks for the same gets the same run. */
  readonly enqueue: EnqueueRun;
  /**
   * Calls `run` once for all attempts of this run, and answers what it returned, as JSON, to this one and to later
   * ones. A process that dies between the two calls it again.
   *
   * @param key 1 to 200 characters: which of the things that this run does once
   * @throws RondoError `memory-refused` for what cannot be kept, `run-lock-lost` where another worker has the run; and
   *   what `run` throws, of which nothing is kept
   */
  once<Value>(key: string, run: () => Promise<Value> | Value): Promise<Value>;
  readonly checkpoint: Checkpoint;
}

/** How far a run is, for its next attempt: after a failure, a stop, a crash, or a redrive. */
export interface Checkpoint {
  /** What was written last, as JSON; undefined where nothing was. */
  read<Value = unknown>(): Promise<Value | undefined>;
  /**
   * @param value JSON of at most 64 KiB; it takes the place of what was written before
   * @throws RondoError `memory-refused` for what cannot be kept, `run-lock-lost` where another worker has the run
   */
  write(value: unknown): Promise<void>;
}

export interface EnqueueRun {
  /**
   * @param job its definition, or its name
   * @throws RondoError `job-unknown`, `job-disabled`, `payload-invalid`, `run-invalid`, `queue-full`
   */
  <Input>(job: Enqueueable<Input>, payload: Input, options?: EnqueueFromRunOptions): Promise<EnqueuedRun>;
  (job: string, payload?: unknown, options?: EnqueueFromRunOptions): Promise<EnqueuedRun>;
}

/** What of a job's definition tells which payload it takes. */
export interface Enqueueable<Input> {
  readonly name: string;
  readonly payload: z.ZodType<unknown, Input>;
}

export interface EnqueueFromRunOptions {
  /**
   * By which another attempt of this run gets the same run, whatever its payload is then. Unless told the payload
   * decides, and of equal ones their number within the attempt.
   */
  readonly key?: string;
  /** Instead of at once; or `at` a time, within a year. */
  readonly delay?: Duration;
  readonly at?: Date | string;
  readonly priority?: number;
  readonly attempts?: number;
  /** The run is not started later than this long after it was due. */
  readonly expiresIn?: Duration;
  /** One run in place of many that have the same key, whoever asks for them. */
  readonly deduplicate?:
    | { readonly key: string; readonly mode?: 'throttle'; readonly ttl?: Duration }
    | { readonly key: string; readonly mode: 'debounce'; readonly ttl: Duration };
}

export interface EnqueuedRun {
  readonly id: string;
  readonly job: string;
}

/** The run that enqueues another. */
export interface ParentRun {
  readonly id: string;
  readonly job: string;
  /** Numbers may come again as ids, after a queue was emptied; not at the same time. In ms since the epoch. */
  readonly enqueuedAt: number;
}

/** Pino's way of calling: a message, or facts and a message. */
export interface JobLogger {
  debug: LogLine;
  info: LogLine;
  warn: LogLine;
  error: LogLine;
}

export interface LogLine {
  (message: string): void;
  (facts: Record<string, unknown>, message?: string): void;
}
