import { z } from 'zod';
import { type Duration, duration, formatDuration } from '../duration.js';

/** What is told of a schedule, or of the runs of a job that are no ticks. */
export interface AlertOptions {
  /** A run has failed after its last attempt. On unless told. */
  failed?: boolean;
  /** So many runs, 2 to 20, have failed one after the other. Off unless told. */
  failures?: number | false;
  /** A tick was missed, or waits for longer than its `lateAfter`. On unless told. */
  missed?: boolean;
  /** A run takes more than so many times as long as its like usually do. Off unless told. */
  slow?: number | false;
  /** The schedule is broken, and the producer has not mended it within half a minute. On unless told. */
  broken?: boolean;
  /** After an alert has started, the same one does not start again for so long: 30 minutes unless told. */
  cooldown?: Duration;
}

/** What is told of a job; a schedule's own come before these. */
export interface JobAlertOptions extends AlertOptions {
  /** The oldest run that waits for a worker has waited for so long: 15 minutes unless told. */
  queueAge?: Duration | false;
  /** No worker has taken runs of the job for so long: 2 minutes unless told. */
  noWorker?: Duration | false;
}

/** What is told of a schedule. Durations in ms; null is off. */
export interface AlertRules {
  readonly failed: boolean;
  readonly failures: number | null;
  readonly missed: boolean;
  readonly slow: number | null;
  readonly broken: boolean;
  readonly cooldown: number;
}

export interface JobAlertRules extends AlertRules {
  readonly queueAge: number | null;
  readonly noWorker: number | null;
}

export const alertRuleNames = ['failed', 'failures', 'missed', 'slow', 'broken', 'queueAge', 'noWorker'] as const;
export type AlertRule = (typeof alertRuleNames)[number];

/** How many runs in a row a rule can count: as many closed entries of a ledger are looked at. */
export const alertTail = 20;

const defaults: JobAlertRules = {
  failed: true,
  failures: null,
  missed: true,
  slow: null,
  broken: true,
  cooldown: 30 * 60_000,
  queueAge: 15 * 60_000,
  noWorker: 2 * 60_000,
};

const off = { failed: false, failures: false, missed: false, slow: false, broken: false } as const;
const day = 86_400_000;

const shared = {
  failed: z.boolean().optional(),
  failures: orFalse(z.int().min(2).max(alertTail), `a whole number from 2 to ${alertTail}, or false`),
  missed: z.boolean().optional(),
  slow: orFalse(z.number().min(1.1).max(1_000), 'how many times as long as usual, 1.1 to 1000, or false'),
  broken: z.boolean().optional(),
  cooldown: duration({ max: 30 * day }).optional(),
};
const ownShape = z.strictObject(shared);
const jobShape = z.strictObject({
  ...shared,
  queueAge: orFalse(duration({ min: 1_000, max: 365 * day }), "a duration of at least 1s such as '15m', or false"),
  noWorker: orFalse(duration({ min: 10_000, max: 365 * day }), "a duration of at least 10s such as '2m', or false"),
});

/** Of a schedule: what it says itself, nothing where it leaves all to its job. */
export const scheduleAlertsSchema = z.preprocess((given) => (given === false ? off : given), ownShape).optional();

/** Of a job, with the defaults. */
export const jobAlertsSchema = z
  .preprocess((given) => (given === false ? { ...off, queueAge: false, noWorker: false } : given), jobShape)
  .optional()
  .transform((given): JobAlertRules => ({ ...defaults, ...defined(given ?? {}) }));

export const scheduleAlertNames = Object.keys(ownShape.shape);
export const jobAlertNames = Object.keys(jobShape.shape);

/** What a schedule says itself. */
export type OwnAlertRules = z.output<typeof ownShape>;

/** The rules of a schedule: its own, else its job's. */
export function alertRulesOf(job: AlertRules, own: OwnAlertRules | undefined): AlertRules {
  return own ? { ...job, ...defined(own) } : job;
}

/** The rules that are on, for people. */
export function alertsInWords(rules: Partial<JobAlertRules> | OwnAlertRules): string {
  const { failed, failures, missed, slow, broken, queueAge, noWorker, cooldown } = rules as Partial<JobAlertRules>;
  const said = [
    failed && 'failed',
    failures && `${failures} failures in a row`,
    missed && 'missed or late',
    slow && `slower than ${slow} times the usual`,
    broken && 'broken',
    queueAge && `waiting for ${formatDuration(queueAge)}`,
    noWorker && `no worker for ${formatDuration(noWorker)}`,
  ].filter(Boolean);
  if (said.length === 0) return 'none';
  return said.join(', ') + (cooldown === undefined ? '' : `; again after ${formatDuration(cooldown)}`);
}

function orFalse<Schema extends z.ZodType>(schema: Schema, error: string) {
  return z
    .union([schema, z.literal(false)], { error })
    .transform((given) => (given === false ? null : (given as Exclude<z.output<Schema>, false>)))
    .optional();
}

type Defined<Options> = { [Name in keyof Options]: Exclude<Options[Name], undefined> };

function defined<Options extends object>(options: Options): Partial<Defined<Options>> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}
