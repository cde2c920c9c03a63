import type { Duration } from '../duration.js';
import type { JobDefinition } from '../jobs/define-job.js';
import type { RunView } from '../producers/run-view.js';

/** A list of jobs, as `typeof jobs` names it. */
export type JobList = readonly JobDefinition[];

/** The names of the jobs in a list. */
export type JobName<Jobs extends JobList> = Jobs[number]['name'];

type JobOf<Jobs extends JobList, Name> = Jobs[number] extends infer Job
  ? Job extends JobDefinition<infer _Payload, infer _Result, infer _Input, infer Own>
    ? Name extends Own
      ? Job
      : never
    : never
  : never;

/** What a caller sends: what the job's schema takes, before its defaults and transforms. */
export type PayloadOf<Jobs extends JobList, Name> =
  JobOf<Jobs, Name> extends JobDefinition<infer _Payload, infer _Result, infer Input> ? Input : never;

/** What the job's handler returns, as it comes over the wire. */
export type ResultOf<Jobs extends JobList, Name> =
  JobOf<Jobs, Name> extends JobDefinition<infer _Payload, infer Result> ? OverTheWire<Result> : never;

/** What becomes of a value in JSON: a Date is text, and nothing is null. */
export type OverTheWire<Value> = unknown extends Value
  ? unknown
  : Value extends { toJSON(): infer Text }
    ? Text
    : Value extends void
      ? null
      : Value extends string | number | boolean | null
        ? Value
        : Value extends readonly unknown[]
          ? { [Index in keyof Value]: OverTheWire<Value[Index]> }
          : { [Name in keyof Value]: OverTheWire<Value[Name]> };

/** A run of a job: `result` is there once it is `completed`, `error` once it has failed an attempt. */
export type Run<Jobs extends JobList = JobList, Name = JobName<Jobs>> = Omit<RunView, 'result' | 'state'> &
  (
    | { readonly state: 'completed'; readonly result: ResultOf<Jobs, Name> }
    | { readonly state: Exclude<RunView['state'], 'completed'>; readonly result: null }
  );

/** A run that is ended: it is `completed` or `failed`. */
export type EndedRun<Jobs extends JobList = JobList, Name = JobName<Jobs>> =
  | Extract<Run<Jobs, Name>, { readonly state: 'completed' }>
  | (Omit<Extract<Run<Jobs, Name>, { readonly result: null }>, 'state'> & { readonly state: 'failed' });

/** Overrides for one run. */
export interface RunOptions {
  /** Start it this much later. */
  readonly delay?: Duration;
  /** Start it at this time: ISO with a zone, or a Date. */
  readonly at?: string | Date;
  /** 1 goes first. */
  readonly priority?: number;
  /** How often it is tried in all. */
  readonly attempts?: number;
  /** Do not start it later than this after it was due. */
  readonly expiresIn?: Duration;
  /** At most one run of this key: see docs/http.md. */
  readonly deduplicate?: { readonly key: string; readonly ttl?: Duration; readonly mode?: 'throttle' | 'debounce' };
}

/** A payload of which nothing must be said may be left out. */
export type PayloadAndOptions<Payload, Options> =
  Record<never, never> extends Payload ? [payload?: Payload, options?: Options] : [payload: Payload, options?: Options];

export type BulkItem<Payload> = RunOptions &
  (Record<never, never> extends Payload ? { readonly payload?: Payload } : { readonly payload: Payload });
