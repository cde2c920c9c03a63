import type { z } from 'zod';
import type { Duration } from '../duration.js';
import { type Problem, RondoError } from '../errors.js';
import type { AlertOptions, JobAlertOptions, JobAlertRules, OwnAlertRules } from './alerts.js';
import type { Calendar } from './calendar.js';
import type { JobContext } from './context.js';
import type { Misfire, MisfirePolicy } from './misfire.js';
import { readJobOptions } from './options.js';
import type { Overlap } from './overlap.js';
import type { RetryPolicy } from './retry.js';
import type { NextTick, Timing } from './schedule.js';

const brand: unique symbol = Symbol.for('rondo.job') as never;

/** What becomes of ticks that are found late, or while a run goes on; a schedule's own come before its job's. */
export interface TickOptions {
  /**
   * Of several ticks found due together: `run-once` runs the latest, `run-all` each up to `maxCatchUp`, `skip` the
   * latest where it is within `grace`. The ledger accounts for the others.
   */
  misfire?: Misfire;
  /** How late a tick may be found and still be on time. */
  grace?: Duration;
  /** How many late ticks `run-all` runs: the latest, oldest first. */
  maxCatchUp?: number;
  /**
   * A tick due while the schedule's last run has not ended, retries included: `allow` runs both, `skip` not the tick,
   * `wait` the tick afterwards (one waits, later ones coalesce into it), `replace` cancels the one that runs.
   */
  overlap?: Overlap;
}

export interface JobOptions<Schema extends z.ZodType, Result, Name extends string = string> extends TickOptions {
  /** `[a-z0-9][a-z0-9-]{0,63}`; also the name of the job's queue. */
  name: Name;
  /** One line for people: shown in listings and on the board. */
  description?: string;
  /** What a run takes. Nothing, `{}`, unless told. Reads synchronously; what it refuses never runs. */
  payload?: Schema;
  schedules?: readonly ScheduleOptions<z.input<Schema>>[];
  /**
   * Fields of the payload that the handler alone sees: dotted paths such as `smtp.password`, `*` for all items of a
   * list. Everywhere else `[secret]` stands for them, in errors and logs that quote them too. `secret()` marks them in
   * the schema itself.
   */
  secret?: readonly string[];
  retry?: {
    /** How often a run is tried in all, the first time included. */
    attempts?: number;
    backoff?: RetryPolicy['backoff'];
    /** Before the second attempt. */
    delay?: Duration;
    maxDelay?: Duration;
    /** A share of the delay, 0 to 1, by which it varies both ways. */
    jitter?: number;
  };
  /** Per attempt. The signal aborts then, and the attempt counts as failed whatever the handler does. */
  timeout?: Duration;
  /** How long a cancelled run has to end after its signal aborted; then it is given up. */
  cancelGrace?: Duration;
  /** How many runs one worker process executes at once. */
  concurrency?: number;
  /** At most `max` starts in each `per`, over all workers. */
  rateLimit?: { max: number; per: Duration };
  /** 1 goes first, 2,097,151 last; runs without one go before all that have one. */
  priority?: number;
  /** How long finished runs are kept: whichever bound is reached first. */
  retention?: { completed?: Retention; failed?: Retention };
  /** How often a run may take its process down before it is set aside as failed, `run-quarantined`. */
  maxCrashes?: number;
  /** An enqueue is refused, `queue-full`, while so many runs wait. What is due later, or executes, does not count. */
  maxWaiting?: number;
  /** What is told of it by webhook and e-mail, where a channel is configured; nothing with `false`. */
  alerts?: JobAlertOptions | false;
  /** Which version of the payload this code knows: 1 unless told. Runs carry the one they were enqueued with. */
  version?: number;
  /**
   * Brings the payload of a run that was enqueued with a lower version to this one, before the schema reads it. What
   * it throws refuses the run, which can be redriven.
   */
  migrate?(stored: { readonly payload: unknown; readonly version: number }): z.input<Schema>;
  /** A disabled job is listed, but has no ticks, no workers, and takes no runs. */
  enabled?: boolean;
  /** Why the job cannot run here, such as `DATABASE_URL is not set`: it is disabled, and listings say so. */
  off?: string | null;
  run(context: JobContext<z.output<Schema>>): Promise<Result> | Result;
}

export interface Retention {
  age?: Duration;
  count?: number;
}

export type ScheduleOptions<Payload> = TickOptions & {
  /** `[a-z0-9][a-z0-9-]{0,63}`, its own among all jobs. */
  id: string;
  description?: string;
  /** IANA name such as `Europe/Paris`; for `cron`, and for `exclude`. UTC unless told. */
  timezone?: string;
  /** What becomes of a `cron`'s local time that the clock jumps over: it runs at the end of the gap, unless told. */
  dst?: 'run-after' | 'skip';
  /** When it does not run: calendars of `defineCalendar`, or some in place. */
  exclude?: readonly Calendar[];
  /** Days that run all the same, whatever is excluded: `2026-12-24`. */
  except?: readonly string[];
  /** An excluded tick is dropped, or runs at the same local time of the first later day on which that is not excluded. */
  onExcluded?: 'drop' | 'next-working-day';
  /** The first moment that may be a tick. It shifts the phase of `every`. */
  startsAt?: string | Date;
  /** The last moment that may be a tick. */
  endsAt?: string | Date;
  /** Each tick is due at a fixed moment of this window after its time: one of the schedule's own, from its id. */
  spread?: Duration;
  /** A run that could not start this long after its tick was due is not started any more. */
  lateAfter?: Duration;
  /** What is told of it, where that is not what its job says; nothing with `false`. */
  alerts?: AlertOptions | false;
  /**
   * A dead man's switch: this URL is pinged when a tick's run begins (`/start`), succeeds, and fails for good (`/fail`),
   * as healthchecks.io and its kin understand it.
   */
  healthcheck?: string;
  /** A disabled schedule is listed and has no ticks. */
  enabled?: boolean;
  /** Also start a run, which is no tick, whenever a producer takes the lead: at start and after a takeover. */
  triggerOnStart?: boolean;
} & ScheduledPayload<Payload> &
  ScheduleKind;

type ScheduledPayload<Payload> = Record<never, never> extends Payload ? { payload?: Payload } : { payload: Payload };

type ScheduleKind =
  | { /** 5 or 6 fields, or `@daily` and its kin. */ cron: string; every?: never; at?: never; next?: never }
  | { /** Ticks aligned to the epoch. */ every: Duration; cron?: never; at?: never; next?: never }
  | { /** Once, at an ISO time. */ at: string | Date; cron?: never; every?: never; next?: never }
  | { /** The first tick strictly after a moment, or null. */ next: NextTick; cron?: never; every?: never; at?: never };

export interface Schedule {
  readonly id: string;
  readonly description: string;
  readonly timing: Timing;
  readonly policy: MisfirePolicy;
  readonly overlap: Overlap;
  /** In ms; null where none is too late. */
  readonly lateAfter: number | null;
  /** The rule of a timing of kind `next`. */
  readonly next?: NextTick;
  readonly payload: unknown;
  /** What it says itself. */
  readonly alerts?: OwnAlertRules;
  readonly healthcheck: string | null;
  readonly enabled: boolean;
  readonly triggerOnStart: boolean;
}

/** A job with every default filled in. Durations in ms. `Input` is what callers send, before the schema's defaults. */
export interface JobDefinition<Payload = unknown, Result = unknown, Input = unknown, Name extends string = string> {
  /** Known by this in every copy of the package. */
  readonly [brand]: true;
  readonly name: Name;
  readonly description: string;
  readonly payload: z.ZodType<Payload, Input>;
  /** Paths of the payload. */
  readonly secret: readonly string[];
  readonly schedules: readonly Schedule[];
  /** What its schedules get that say nothing else. */
  readonly policy: MisfirePolicy & { readonly overlap: Overlap };
  readonly retry: RetryPolicy;
  readonly timeout: number;
  readonly cancelGrace: number;
  readonly concurrency: number;
  readonly rateLimit: { readonly max: number; readonly per: number } | null;
  readonly priority: number | null;
  readonly retention: Record<'completed' | 'failed', { readonly age: number; readonly count: number }>;
  readonly maxCrashes: number;
  readonly maxWaiting: number | null;
  readonly alerts: JobAlertRules;
  readonly version: number;
  readonly migrate?: (stored: { readonly payload: unknown; readonly version: number }) => unknown;
  readonly enabled: boolean;
  /** Why it is disabled, where there is more to say than that the code wants it so. */
  readonly off: string | null;
  /** What is wrong with the definition. The registry refuses a job that has any, so that all are told at once. */
  readonly problems: readonly Problem[];
  run(context: JobContext<Payload>): Promise<Result> | Result;
}

/**
 * Declares a job: what it takes, when it runs, how it retries, and what it does. The types of payload and result
 * follow from the schema and the handler. Never throws: what is wrong is kept in `problems`, for the registry.
 */
export function defineJob<
  Schema extends z.ZodType = z.ZodObject<Record<never, never>>,
  Result = unknown,
  const Name extends string = string,
>(options: JobOptions<Schema, Result, Name>): JobDefinition<z.output<Schema>, Result, z.input<Schema>, Name> {
  const { name, problems, settings = unusable(options) } = readJobOptions(options);
  // The reader checks values; that they have the types the options promise is the compiler's word.
  return { ...settings, name, problems, [brand]: true } as unknown as JobDefinition<
    z.output<Schema>,
    Result,
    z.input<Schema>,
    Name
  >;
}

/** A definition that nobody can use still has a name, ids and problems, for the registry to tell. */
function unusable(options: unknown): typeof placeholder {
  const { schedules } = Object(options) as { schedules?: unknown };
  const ids = (Array.isArray(schedules) ? schedules : []).map((it) => (Object(it) as { id?: unknown }).id);
  const [schedule] = placeholder?.schedules ?? [];
  if (!placeholder || !schedule) return placeholder;
  return { ...placeholder, schedules: ids.flatMap((id) => (typeof id === 'string' ? [{ ...schedule, id }] : [])) };
}

const { settings: placeholder } = readJobOptions({
  name: 'unusable',
  schedules: [{ id: 'unusable', at: '2000-01-01' }],
  run: () => null,
});

/** @throws RondoError `job-disabled`, with the reason where there is one */
export function mustBeEnabled({ name, enabled, off }: Pick<JobDefinition, 'name' | 'enabled' | 'off'>): void {
  if (!enabled) throw new RondoError('job-disabled', off === null ? name : `${name}: ${off}`);
}

export function isJobDefinition(value: unknown): value is JobDefinition {
  return typeof value === 'object' && value !== null && (value as { [brand]?: unknown })[brand] === true;
}
