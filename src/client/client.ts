import type { detailsOf } from '../jobs/describe.js';
import type { AuditView } from '../producers/audit.js';
import type { Diagnosis } from '../producers/examination.js';
import type { GoneJob } from '../producers/gone-jobs.js';
import type { JobPause } from '../producers/job-pause.js';
import type { ProcessList } from '../producers/processes.js';
import type { RunState } from '../producers/run-view.js';
import type { ServiceView } from '../producers/service.js';
import { RondoTimeoutError } from './errors.js';
import { createScheduleClient, iso, type Moment, type ScheduleClient } from './schedules.js';
import { type CallOptions, createTransport, type TransportSettings, wait } from './transport.js';
import type { BulkItem, EndedRun, JobList, JobName, PayloadAndOptions, PayloadOf, Run, RunOptions } from './typed.js';

export interface EnqueueOptions extends RunOptions, CallOptions {
  /** By which the API knows the same call again within 24 h; a random one unless told. */
  readonly idempotencyKey?: string;
}

/** A run that the API has taken: Redis has it. */
export interface Enqueued {
  readonly id: string;
  /** Whether it is a run that was there already, by its `deduplicate` key. */
  readonly deduplicated: boolean;
}

export interface RunsQuery {
  readonly state?: RunState;
  /** Of this schedule. */
  readonly schedule?: string;
  /** That failed with this code. */
  readonly code?: string;
  /** 20 unless told, 1,000 at most. */
  readonly limit?: number;
  readonly cursor?: string;
}

/**
 * Rondo over HTTP. Names, payloads and results are those of `Jobs`. Every call rejects with a RondoApiError where the
 * API refuses it, a RondoConnectionError where it cannot be reached, a RondoTimeoutError when its time is over, or the
 * reason of its signal.
 */
export interface RondoClient<Jobs extends JobList = JobList> {
  /** Puts a run into the queue of a job: once, however often it had to be sent. */
  enqueue<Name extends JobName<Jobs>>(
    job: Name,
    ...rest: PayloadAndOptions<PayloadOf<Jobs, Name>, EnqueueOptions>
  ): Promise<Enqueued>;
  /** Up to 5,000 runs at once: all of them, or none where one is refused. */
  enqueueBulk<Name extends JobName<Jobs>>(
    job: Name,
    items: readonly BulkItem<PayloadOf<Jobs, Name>>[],
    options?: CallOptions & { readonly idempotencyKey?: string },
  ): Promise<readonly Enqueued[]>;
  run<Name extends JobName<Jobs>>(
    job: Name,
    id: string,
    options?: CallOptions,
  ): Promise<Run<Jobs, Name> & { readonly log: readonly string[] }>;
  /** The newest runs of a job; `next` is the `cursor` of the page that follows, or null. */
  runs<Name extends JobName<Jobs>>(
    job: Name,
    query?: RunsQuery,
    options?: CallOptions,
  ): Promise<{ readonly runs: readonly Run<Jobs, Name>[]; readonly next: string | null }>;
  /** The run as soon as it has completed or failed; a RondoTimeoutError after `timeoutMs`, 5 minutes unless told. */
  waitFor<Name extends JobName<Jobs>>(
    job: Name,
    id: string,
    options?: CallOptions,
  ): Promise<EndedRun<Jobs, Name> & { readonly log: readonly string[] }>;
  /** Removes a run that waits, and tells one that executes to end. */
  cancel(job: JobName<Jobs>, id: string, options?: CallOptions): Promise<'removed' | 'told'>;
  /** Lets a run that failed begin anew. Sent once: it may fail again in between. */
  retry(job: JobName<Jobs>, id: string, options?: CallOptions): Promise<void>;
  /** Every process that is alive, and what it executes. */
  workers(options?: CallOptions): Promise<ProcessList>;
  /** The whole service: who leads and works, how schedules are, and what is next. */
  service(options?: CallOptions): Promise<ServiceView>;
  /** What is wrong with the API's process, its Redis and what that holds; with `fix` it puts right what can be without a risk. */
  doctor(options?: CallOptions & { readonly fix?: boolean }): Promise<Diagnosis>;
  readonly jobs: JobClient<Jobs>;
  readonly schedules: ScheduleClient<Jobs>;
  /** Who changed what, the newest first: for keys with `admin`. `next` is the `cursor` of the page that follows, or null. */
  audit(
    query?: AuditQuery,
    options?: CallOptions,
  ): Promise<{ readonly entries: readonly AuditView[]; readonly next: string | null }>;
}

interface RedriveOptions {
  readonly code?: string;
  readonly limit?: number;
  /** What the first answer told, where a redrive takes several: runs that fail again meanwhile are passed over. */
  readonly before?: string | Date;
}

export interface AuditQuery {
  readonly from?: Moment;
  readonly to?: Moment;
  /** The name of a key, or the user and host of a command. */
  readonly who?: string;
  /** 100 unless told, 1,000 at most. */
  readonly limit?: number;
  readonly cursor?: string;
}

/** What the API tells of a job: durations in ms, the JSON Schema of its payload, and why it is paused, or null. */
export type JobDetails = ReturnType<typeof detailsOf> & {
  /** Missing while Redis is away. */
  readonly paused?: JobPause | null;
};

export interface JobClient<Jobs extends JobList> {
  list(options?: CallOptions): Promise<readonly JobDetails[]>;
  get(job: JobName<Jobs>, options?: CallOptions): Promise<JobDetails>;
  /** Those that code declares no longer, and that have runs. */
  gone(options?: CallOptions): Promise<readonly GoneJob[]>;
  /** Lets failed runs begin anew, oldest first, 1,000 unless told. Sent once. */
  redrive(
    job: JobName<Jobs>,
    options?: CallOptions & RedriveOptions,
  ): Promise<{ readonly redriven: number; readonly failed: number; readonly before: string | null }>;
  /** Stops the job's queue, ad-hoc runs too; what runs goes on. */
  pause(job: JobName<Jobs>, options?: CallOptions & { readonly note?: string }): Promise<JobPause>;
  /** Tells whether it was paused. */
  resume(job: JobName<Jobs>, options?: CallOptions): Promise<boolean>;
}

const defaultWaitMs = 300_000;
/** For how long one request waits at the API, in ms. */
const longPollMs = 20_000;

/**
 * @throws TypeError where url or key cannot be right; the message does not show them
 */
export function createClient<Jobs extends JobList = JobList>(settings: TransportSettings): RondoClient<Jobs> {
  const send = createTransport(settings);
  const runsOf = (job: string, rest = '') => `/jobs/${encodeURIComponent(job)}/runs${rest}`;
  const runAt = (job: string, id: string, rest = '') => runsOf(job, `/${encodeURIComponent(id)}${rest}`);

  const calls = {
    async enqueue(job: string, payload?: unknown, options: EnqueueOptions = {}): Promise<Enqueued> {
      const { timeoutMs, signal, idempotencyKey = crypto.randomUUID(), ...overrides } = options;
      const body = { payload, ...overrides };
      const call = { method: 'POST', body, idempotencyKey, repeatable: true, timeoutMs, signal } as const;
      return enqueuedIn(await send({ ...call, path: runsOf(job) }));
    },

    async enqueueBulk(
      job: string,
      items: readonly object[],
      { idempotencyKey = crypto.randomUUID(), ...options }: CallOptions & { idempotencyKey?: string } = {},
    ): Promise<Enqueued[]> {
      const call = { method: 'POST', body: { runs: items }, idempotencyKey, repeatable: true, ...options } as const;
      const { runs } = (await send({ ...call, path: runsOf(job, '/bulk') })) as { runs: unknown[] };
      return runs.map(enqueuedIn);
    },

    run: (job: string, id: string, options?: CallOptions) =>
      send({ method: 'GET', path: runAt(job, id), repeatable: true, ...options }),

    async runs(job: string, query: RunsQuery = {}, options?: CallOptions) {
      const call = { method: 'GET', path: runsOf(job), query: { ...query }, repeatable: true, ...options } as const;
      const { runs, next = null } = (await send(call)) as { runs: unknown[]; next?: string | null };
      return { runs, next };
    },

    async waitFor(job: string, id: string, { timeoutMs = defaultWaitMs, signal }: CallOptions = {}) {
      const deadline = Date.now() + timeoutMs;
      for (;;) {
        const remaining = deadline - Date.now();
        if (remaining <= 0) throw new RondoTimeoutError(`${job} ${id} has not ended within ${timeoutMs} ms`);
        const askedAt = Date.now();
        const waitMs = Math.min(longPollMs, Math.ceil(remaining));
        const call = { method: 'GET', path: runAt(job, id), query: { wait: `${waitMs}ms` }, repeatable: true } as const;
        // An answer that comes at the very end of the time is an answer.
        const run = (await send({ ...call, tryMs: waitMs + graceMs, timeoutMs: remaining + graceMs, signal })) as Run;
        if (run.state === 'completed' || run.state === 'failed') return run;
        // An api that stops answers early: all who wait there would come back at once.
        if (Date.now() - askedAt < waitMs / 2) await wait(Math.min(500, Math.max(0, deadline - Date.now())), signal);
      }
    },

    async cancel(job: string, id: string, options?: CallOptions) {
      const call = { method: 'POST', path: runAt(job, id, '/cancel'), repeatable: true, ...options } as const;
      const ifGone = { code: 'run-unknown', answer: { cancelled: 'removed' } };
      return ((await send({ ...call, ifGone })) as { cancelled: 'removed' | 'told' }).cancelled;
    },

    async retry(job: string, id: string, options?: CallOptions): Promise<void> {
      await send({ method: 'POST', path: runAt(job, id, '/retry'), repeatable: false, ...options });
    },

    workers: (options?: CallOptions) => send({ method: 'GET', path: '/workers', repeatable: true, ...options }),
    service: (options?: CallOptions) => send({ method: 'GET', path: '/service', repeatable: true, ...options }),
    doctor({ fix = false, ...options }: CallOptions & { readonly fix?: boolean } = {}) {
      if (!fix) return send({ method: 'GET', path: '/doctor', repeatable: true, tryMs: examineMs, ...options });
      const call = { method: 'POST', path: '/doctor/fix', repeatable: true, tryMs: fixMs } as const;
      return send({ ...call, ...options, timeoutMs: options.timeoutMs ?? fixMs });
    },

    jobs: jobCalls(send),
    schedules: createScheduleClient<Jobs>(send),

    audit: ({ from, to, ...rest }: AuditQuery = {}, options?: CallOptions) =>
      send({
        ...{ method: 'GET', path: '/audit', repeatable: true },
        ...{ query: { from: iso(from), to: iso(to), ...rest }, ...options },
      }),
  };
  // What the API answers is what it documents: the types are those that it makes its answers of.
  return calls as unknown as RondoClient<Jobs>;
}

/** The API takes up to 20 s to look, and up to a minute to put right, in ms. */
const examineMs = 25_000;
const fixMs = 65_000;

/** For an answer's way back, in ms. */
const graceMs = 5_000;

function jobCalls(send: ReturnType<typeof createTransport>) {
  const at = (job: string, rest = '') => `/jobs/${encodeURIComponent(job)}${rest}`;
  return {
    async list(options?: CallOptions) {
      const answer = await send({ method: 'GET', path: '/jobs', repeatable: true, ...options });
      return (answer as { jobs: readonly JobDetails[] }).jobs;
    },
    get: (job: string, options?: CallOptions) => send({ method: 'GET', path: at(job), repeatable: true, ...options }),
    async gone(options?: CallOptions) {
      const answer = await send({ method: 'GET', path: '/gone-jobs', repeatable: true, ...options });
      return (answer as { jobs: readonly GoneJob[] }).jobs;
    },
    async redrive(job: string, { code, limit, before, ...options }: CallOptions & RedriveOptions = {}) {
      const body = { code, limit, before };
      const answer = await send({ method: 'POST', path: at(job, '/redrive'), body, repeatable: false, ...options });
      const done = answer as { redriven: number; failed: number; before?: string | null };
      return { redriven: done.redriven, failed: done.failed, before: done.before ?? null };
    },
    async pause(job: string, { note, ...options }: CallOptions & { readonly note?: string } = {}) {
      const call = { method: 'POST', path: at(job, '/pause'), body: { note }, repeatable: true, ...options } as const;
      return ((await send(call)) as { paused: JobPause }).paused;
    },
    async resume(job: string, options?: CallOptions) {
      const call = { method: 'POST', path: at(job, '/resume'), body: {}, repeatable: true, ...options } as const;
      return ((await send(call)) as { resumed: boolean }).resumed;
    },
  };
}

function enqueuedIn(answer: unknown): Enqueued {
  const { id, deduplicated = false } = answer as { id: string; deduplicated?: boolean };
  return { id, deduplicated };
}
