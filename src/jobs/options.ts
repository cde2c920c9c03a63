import { z } from 'zod';
import { duration } from '../duration.js';
import type { Problem } from '../errors.js';
import { problemsOf, show } from '../problems.js';
import { jobAlertNames, jobAlertsSchema, scheduleAlertNames, scheduleAlertsSchema } from './alerts.js';
import { parseCron } from './cron.js';
import { exclusionFields, exclusionNames, exclusionOf, faultOfExclusion } from './exclusion-options.js';
import { nameSchema, timezoneSchema } from './fields.js';
import { healthcheckSchema } from './healthcheck.js';
import { memo } from './memo.js';
import { defaultPolicy, type MisfirePolicy, misfires } from './misfire.js';
import { type Overlap, overlaps } from './overlap.js';
import { copiedSecret, payloadProblems } from './payload-problems.js';
import { type NextTick, nextTick, spreadOffset, type Timing } from './schedule.js';
import { readMarks } from './secret-mark.js';
import { unknownSecrets } from './secret-schema.js';
import { hidden, holdsHidden, redactPayload } from './secrets.js';

/** What a job gets unless its definition says otherwise. Durations in ms. */
const defaults = {
  payload: z.object({}),
  retry: { attempts: 3, backoff: 'exponential', delay: 1_000, maxDelay: 300_000, jitter: 0.2 },
  timeout: 30_000,
  concurrency: 5,
  maxCrashes: 3,
  timezone: 'UTC',
  ...defaultPolicy,
  overlap: 'allow',
  cancelGrace: 5_000,
  retention: {
    completed: { age: 86_400_000, count: 1_000 },
    failed: { age: 14 * 86_400_000, count: 5_000 },
  },
} as const;

/** What a job is called whose definition has no name. */
export const nameless = '(a job without a name)';

/** Reads the options of a job, defaults filled in and durations in ms, or says all that is wrong with them. */
export function readJobOptions(options: unknown) {
  const given = (typeof options === 'object' && options !== null ? options : {}) as Record<string, unknown>;
  const name = typeof given.name === 'string' ? given.name : nameless;
  const read = definitionSchema.safeParse(options);
  // A misspelt "payload" holds the secrets of one.
  const hides = secretsIn(given).length > 0;
  const got = (path: readonly PropertyKey[], isUnknown: boolean) => {
    if (path.at(-1) === 'healthcheck') return '(not shown)'; // who knows such a URL may ping it
    return hides && isUnknown ? hidden : null;
  };
  const problems = read.success ? [] : problemsOf(read.error, options, { at: `${name}: `, known: optionsAt, got });
  problems.push(...refusedPayloads(name, given));
  return { name, problems, settings: read.data };
}

/** A job as far as a schedule of it must fit. */
export interface ScheduledJob {
  readonly name: string;
  readonly payload: z.ZodType;
  readonly secret: readonly string[];
  readonly policy: MisfirePolicy & { readonly overlap: Overlap };
}

/**
 * Reads one schedule of a known job from JSON, with the rules, defaults and words of a definition: it is read as the
 * only schedule of such a job. Where each problem lies is said from the schedule on: `cron`, `payload.region`.
 */
export function readSchedule({ name, payload, secret, policy }: ScheduledJob, fields: unknown) {
  const given = isRecord(fields) && fields.next !== undefined ? { ...fields, next: () => null } : fields;
  const { problems, settings } = readJobOptions({
    name,
    payload,
    secret,
    ...policy,
    schedules: [given],
    run: () => null,
  });
  const prefix = `${name}: schedules[0]`;
  const own = problems.map((problem) => ({ ...problem, where: whereIn(problem.where, prefix) }));
  // A function stands in for it, so that the other fields are judged as they would be beside one.
  if (isRecord(fields) && given !== fields) {
    const expected = 'cron, every or at, since next() is code and is declared there';
    own.push({ where: 'next', expected, got: show(fields.next) });
  }
  return { problems: own, schedule: own.length === 0 ? settings?.schedules[0] : undefined };
}

function whereIn(where: string, prefix: string): string {
  return where.slice(prefix.length).replace(/^\./, '') || 'value';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const day = 86_400_000;
// Timers of Node.js hold no more than 2^31 - 1 ms.
const timerMax = 24 * day;

const schemaSchema = z.custom<z.ZodType>(isSchema, 'a zod schema');
const functionSchema = z.custom<(...args: never[]) => unknown>((value) => typeof value === 'function', 'a function');
const wholeNumber = (min: number, max: number) => z.int().min(min).max(max);

const momentSchema = z
  .union([z.iso.datetime({ offset: true }), z.iso.datetime({ offset: true, precision: -1 }), z.iso.date(), z.date()], {
    error: 'an ISO time with a zone, such as "2026-11-21T07:00:00Z"',
  })
  .transform((moment) => new Date(moment).getTime());

const faultOfCron = memo(faultOf);

const cronSchema = z.string().superRefine((cron, context) => {
  const expected = faultOfCron(cron);
  if (expected) context.addIssue({ code: 'custom', message: expected });
});

const kinds = ['cron', 'every', 'at', 'next'] as const;

/** How ticks that are found late are treated: for all schedules of a job, and for one of them. */
const misfireFields = {
  misfire: z.enum(misfires).optional(),
  grace: duration({ max: 365 * day }).optional(),
  maxCatchUp: wholeNumber(1, 10_000).optional(),
};

/** What a job says for all its schedules, and each of them may say for itself. */
const sharedFields = { ...misfireFields, overlap: z.enum(overlaps).optional() };

export const scheduleFields = z.strictObject({
  id: nameSchema,
  description: z.string().default(''),
  cron: cronSchema.optional(),
  every: duration({ min: 1, max: 366 * day }).optional(),
  at: momentSchema.optional(),
  next: functionSchema.optional(),
  timezone: timezoneSchema.optional(),
  startsAt: momentSchema.optional(),
  endsAt: momentSchema.optional(),
  spread: duration({ min: 1, max: 365 * day }).optional(),
  dst: z.enum(['run-after', 'skip']).optional(),
  ...exclusionFields,
  ...sharedFields,
  lateAfter: duration({ min: 1 }).nullish().default(null),
  payload: z.unknown().optional(),
  alerts: scheduleAlertsSchema,
  healthcheck: healthcheckSchema.nullish().default(null),
  enabled: z.boolean().default(true),
  triggerOnStart: z.boolean().default(false),
});

const scheduleSchema = scheduleFields.transform((fields, context) => {
  const { id, description, misfire, grace, maxCatchUp, overlap, lateAfter } = fields;
  const { payload = {}, alerts, healthcheck, enabled, triggerOnStart } = fields;
  const refuse = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message });
  const given = kinds.filter((kind) => fields[kind] !== undefined);
  // A misspelt option is the only thing that may be wrong with the fields already: most likely it is the kind.
  const misspelt = context.issues.length > 0;
  if (given.length > 1 || (given.length === 0 && !misspelt)) {
    refuse(given[1] ?? 'cron', `exactly one of ${kinds.join(', ')}, not ${given.join(' and ') || 'none'}`);
  }
  const isCron = given.length !== 1 || given[0] === 'cron';
  if (fields.timezone && !isCron && !fields.exclude) {
    refuse('timezone', 'no time zone, which only cron schedules have, and those with exclude');
  }
  if (fields.dst && !isCron) refuse('dst', 'nothing: only cron schedules follow the clock');
  if (fields.startsAt !== undefined && fields.endsAt !== undefined && fields.endsAt < fields.startsAt) {
    refuse('endsAt', 'a time at or after startsAt');
  }
  const next = fields.next as NextTick | undefined;
  const timing = timingOf(fields);
  // With anything else wrong it would be judged by times that nobody means.
  const fault = context.issues.length === 0 ? faultOfExclusion(fields, timing) : null;
  if (fault) refuse(...fault);
  return {
    id,
    description,
    timing,
    misfire,
    grace,
    maxCatchUp,
    overlap,
    lateAfter,
    next,
    payload,
    ...(alerts && { alerts }),
    healthcheck,
    enabled,
    triggerOnStart,
  };
});

const retentionSchema = (kept: { age: number; count: number }) =>
  z
    .strictObject({
      age: duration({ min: 1_000 }).default(kept.age),
      count: wholeNumber(0, 10_000_000).default(kept.count),
    })
    .prefault({});

const jobSchema = z.strictObject({
  name: nameSchema,
  description: z.string().default(''),
  payload: schemaSchema.default(defaults.payload),
  secret: z
    .array(
      z.string().regex(/^[^.]{1,100}(\.[^.]{1,100}){0,19}$/, { error: 'a path such as "token" or "smtp.password"' }),
    )
    .default([]),
  schedules: z.array(scheduleSchema).default([]),
  retry: z
    .strictObject({
      attempts: wholeNumber(1, 1_000).default(defaults.retry.attempts),
      backoff: z.enum(['fixed', 'linear', 'exponential']).default(defaults.retry.backoff),
      delay: duration({ max: 30 * day }).default(defaults.retry.delay),
      maxDelay: duration({ max: 30 * day }).default(defaults.retry.maxDelay),
      jitter: z.number().min(0).max(1).default(defaults.retry.jitter),
    })
    .prefault({}),
  timeout: duration({ min: 1, max: timerMax }).default(defaults.timeout),
  concurrency: wholeNumber(1, 10_000).default(defaults.concurrency),
  rateLimit: z
    .strictObject({ max: wholeNumber(1, 1_000_000_000), per: duration({ min: 1 }) })
    .nullish()
    .default(null),
  priority: wholeNumber(1, 2_097_151).nullish().default(null),
  retention: z
    .strictObject({
      completed: retentionSchema(defaults.retention.completed),
      failed: retentionSchema(defaults.retention.failed),
    })
    .prefault({}),
  ...sharedFields,
  cancelGrace: duration({ max: timerMax }).default(defaults.cancelGrace),
  maxCrashes: wholeNumber(1, 1_000).default(defaults.maxCrashes),
  maxWaiting: wholeNumber(1, 1_000_000_000).nullish().default(null),
  alerts: jobAlertsSchema,
  version: wholeNumber(1, 1_000_000).default(1),
  migrate: functionSchema.optional(),
  enabled: z.boolean().default(true),
  off: z.string().min(1).max(200).nullish().default(null),
  run: functionSchema,
});

/** BullMQ keeps `{rondo:ticks}:ticks:wait` for a queue called `ticks`, and we a ledger there for a schedule called `wait`. */
const ledgerNames = ['cursor', 'ticks', 'claims', 'overlap', 'backfills', 'backfilled'];
const bullNames =
  /^(\d+|id|meta|wait|paused|active|delayed|prioritized|completed|failed|stalled|stalled-check|events|repeat|marker|pc|limiter|waiting-children|de|metrics)$/;

const unambiguousSchema = jobSchema.superRefine(({ name, payload, secret, schedules, version, migrate }, context) => {
  const { marked, failure } = readMarks(payload);
  if (failure !== null) {
    const message = `a schema whose parts are there when the job is defined (${failure})`;
    context.addIssue({ code: 'custom', path: ['payload'], message });
  }
  for (const { index, expected } of unknownSecrets(payload, secret)) {
    if (marked.includes(secret[index] ?? '')) continue;
    context.addIssue({ code: 'custom', path: ['secret', index], message: expected });
  }
  if (migrate && version === 1) {
    const message = 'no migrate() beside version 1, which has none below it: set version to 2 or more';
    context.addIssue({ code: 'custom', path: ['migrate'], message });
  }
  if (!ledgerNames.includes(name)) return;
  for (const [index, { id }] of schedules.entries()) {
    if (!bullNames.test(id)) continue;
    const message = `an id that is no key of BullMQ's, in a job called ${name}`;
    context.addIssue({ code: 'custom', path: ['schedules', index, 'id'], message });
  }
});

/** A schedule's policies are its own, else its job's, else the defaults. */
const definitionSchema = unambiguousSchema.transform(({ misfire, grace, maxCatchUp, overlap, ...job }) => {
  const policy = {
    misfire: misfire ?? defaults.misfire,
    grace: grace ?? defaults.grace,
    maxCatchUp: maxCatchUp ?? defaults.maxCatchUp,
    overlap: overlap ?? defaults.overlap,
  };
  return {
    ...job,
    enabled: job.enabled && job.off === null,
    secret: [...new Set([...job.secret, ...readMarks(job.payload).marked])],
    policy,
    schedules: job.schedules.map(({ misfire: itsMisfire, grace: itsGrace, maxCatchUp: itsMax, ...schedule }) => ({
      ...schedule,
      overlap: schedule.overlap ?? policy.overlap,
      policy: {
        misfire: itsMisfire ?? policy.misfire,
        grace: itsGrace ?? policy.grace,
        maxCatchUp: itsMax ?? policy.maxCatchUp,
      },
    })),
  };
});

const retentionNames = ['age', 'count'];
const optionNames: Record<string, readonly string[]> = {
  job: Object.keys(jobSchema.shape),
  schedules: Object.keys(scheduleFields.shape),
  ...exclusionNames,
  retry: ['attempts', 'backoff', 'delay', 'maxDelay', 'jitter'],
  rateLimit: ['max', 'per'],
  retention: ['completed', 'failed'],
  completed: retentionNames,
  failed: retentionNames,
  alerts: jobAlertNames,
};

/** The options that there are at a path: its last name says, since the items of a list are numbered. */
function optionsAt(path: readonly PropertyKey[]): readonly string[] {
  const place = path.findLast((key) => typeof key === 'string') ?? 'job';
  if (place === 'alerts' && path[0] === 'schedules') return scheduleAlertNames;
  return optionNames[place] ?? [];
}

function timingOf(fields: z.output<typeof scheduleFields>): Timing {
  const { id, cron, every, at, startsAt, endsAt, spread, dst, timezone = defaults.timezone } = fields;
  const exclude = exclusionOf(fields, timezone);
  const bounds = {
    ...(startsAt !== undefined && { startsAt }),
    ...(endsAt !== undefined && { endsAt }),
    ...(spread !== undefined && { spread, offset: spreadOffset(id, spread) }),
    ...(exclude && { exclude }),
  };
  if (cron !== undefined) return { kind: 'cron', cron, timezone, ...(dst === 'skip' && { dst }), ...bounds };
  if (every !== undefined) return { kind: 'every', every, ...bounds };
  return at === undefined ? { kind: 'next', ...bounds } : { kind: 'at', at, ...bounds };
}

function faultOf(cron: string): string | null {
  try {
    parseCron(cron, 'UTC');
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/^CronPattern: /, '') : String(error);
    return `a cron of 5 or 6 fields, or one such as "@daily" (${why})`;
  }
  // 2000 is before every schedule that matters, and its February has 29 days.
  const never = nextTick({ kind: 'cron', cron, timezone: 'UTC' }, Date.UTC(2000, 0)) === null;
  return never ? 'a cron that fires at some time' : null;
}

/** A schedule's payload must pass the job's own schema now, as the JSON that a run will get, not at its first tick. */
function refusedPayloads(name: string, given: Record<string, unknown>): Problem[] {
  const schema = isSchema(given.payload) ? given.payload : defaults.payload;
  const secret = secretsIn(given);
  const schedules = Array.isArray(given.schedules) ? given.schedules : [];
  return schedules.flatMap((schedule, index) => {
    const { payload = {} } = (schedule ?? {}) as { payload?: unknown };
    const at = `${name}: schedules[${index}].payload`;
    try {
      const sent: unknown = JSON.parse(JSON.stringify(payload));
      if (holdsHidden(secret, sent)) return [copiedSecret(at)];
      const read = schema.safeParse(sent);
      return read.success ? [] : payloadProblems(secret, read.error, sent, at);
    } catch (error) {
      return [
        {
          where: at,
          expected: `JSON that the schema reads synchronously (${String(error)})`,
          got: show(redactPayload(secret, payload)),
        },
      ];
    }
  });
}

/** Of options of which nobody knows yet whether they are right. */
function secretsIn({ secret, payload }: Record<string, unknown>): string[] {
  const declared = Array.isArray(secret) ? secret.filter((path) => typeof path === 'string') : [];
  return isSchema(payload) ? [...declared, ...readMarks(payload).marked] : declared;
}

function isSchema(value: unknown): value is z.ZodType {
  return typeof value === 'object' && value !== null && '_zod' in value && 'safeParse' in value;
}
