import { z } from 'zod';
import { weekdayNames } from '../../jobs/calendar.js';
import type { detailsOf } from '../../jobs/describe.js';
import { misfires } from '../../jobs/misfire.js';
import { overlaps } from '../../jobs/overlap.js';
import type { Timing } from '../../jobs/schedule.js';
import type { AuditView } from '../../producers/audit.js';
import { leftOutReasons } from '../../producers/backfill-plan.js';
import type { BackfillPlanView, BackfillView } from '../../producers/backfill-views.js';
import type { GoneJob } from '../../producers/gone-jobs.js';
import type { JobPause } from '../../producers/job-pause.js';
import type { PreviewView } from '../../producers/preview-view.js';
import { type RunView, runStates } from '../../producers/run-view.js';
import {
  healths,
  type ScheduleDetails,
  type ScheduleView,
  type TickView,
  tickOutcomes,
} from '../../producers/views.js';

/** What is answered, as schemas: the types of the views keep them honest, and the tests read every answer by them. */
const time = z.iso.datetime().describe('UTC');
const ms = z.int().describe('ms');
const moment = z.int().describe('ms since the epoch');
const count = z.int().min(0);

const runFields = {
  id: z.string(),
  job: z.string(),
  state: z.enum(runStates),
  origin: z.enum(['scheduled', 'caught-up', 'backfilled', 'triggered', 'ad-hoc']).describe('How it came'),
  schedule: z.string().nullable(),
  tick: time.nullable().describe('The nominal time of its tick'),
  attempts: count.describe('How many have ended; one that a restart interrupted does not count'),
  maxAttempts: z.int().min(1),
  payload: z.unknown(),
  version: z.int().describe('Which version of the payload it is'),
  progress: z.unknown(),
  result: z.unknown(),
  error: z.string().nullable(),
  code: z.string().nullable().describe("Of an error of Rondo's; null for a handler's own"),
  enqueuedAt: time,
  dueAt: time,
  startedAt: time.nullable(),
  finishedAt: time.nullable(),
};

export const runView = z.object(runFields) satisfies z.ZodType<RunView>;

export const runDetails = z.object({ ...runFields, log: z.array(z.string()) }) satisfies z.ZodType<
  RunView & { readonly log: readonly string[] }
>;

/** Where a run is that was just begun. */
export const runAddress = z.object({ id: z.string(), job: z.string(), url: z.string().describe('Of the run') });

/** Beside the id of a run that an earlier one with the same deduplication key is. */
export const deduplicated = { deduplicated: z.literal(true).optional() };

const calendar = z.object({
  name: z.string().optional(),
  timezone: z.string().optional(),
  dates: z.array(z.string()).optional(),
  yearly: z.array(z.string()).optional(),
  weekly: z
    .array(z.object({ days: z.array(z.enum(weekdayNames)), from: z.string().optional(), to: z.string().optional() }))
    .optional(),
});

const timingFields = {
  startsAt: moment.optional(),
  endsAt: moment.optional(),
  spread: ms.optional(),
  offset: ms.optional().describe('From the time of each tick to when it is due, in ms'),
  exclude: z
    .object({
      timezone: z.string(),
      calendars: z.array(calendar),
      except: z.array(z.string()).optional(),
      onExcluded: z.literal('next-working-day').optional(),
    })
    .optional(),
};

export const timingView = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('cron'),
    cron: z.string(),
    timezone: z.string(),
    dst: z.literal('skip').optional(),
    ...timingFields,
  }),
  z.object({ kind: z.literal('every'), every: ms, ...timingFields }),
  z.object({ kind: z.literal('at'), at: moment, ...timingFields }),
  z.object({ kind: z.literal('next'), ...timingFields }),
]) satisfies z.ZodType<Timing>;

const policy = z.object({ misfire: z.enum(misfires), grace: ms, maxCatchUp: z.int() });

const alertRules = z.object({
  failed: z.boolean(),
  failures: z.int().nullable(),
  missed: z.boolean(),
  slow: z.number().nullable(),
  broken: z.boolean(),
  cooldown: ms,
});

const ownAlerts = alertRules
  .partial()
  .nullable()
  .describe('What it says itself of alerts; the rest is what its job says');

const healthcheck = z.string().nullable().describe("Its dead man's switch, without what comes after the host");

const declaredSchedule = z.object({
  id: z.string(),
  description: z.string(),
  words: z.string(),
  timing: timingView,
  policy,
  overlap: z.enum(overlaps),
  lateAfter: ms.nullable(),
  alerts: ownAlerts,
  healthcheck,
  payload: z.unknown(),
  enabled: z.boolean(),
  triggerOnStart: z.boolean(),
});

const retention = z.object({ age: ms, count });

export const jobPause = z.object({
  by: z.string().nullable(),
  note: z.string(),
  since: time.nullable(),
}) satisfies z.ZodType<JobPause>;

export const jobView = z.object({
  name: z.string(),
  description: z.string(),
  enabled: z.boolean(),
  off: z.string().nullable(),
  concurrency: z.int(),
  timeoutMs: ms,
  attempts: z.int(),
  retry: z.object({
    attempts: z.int(),
    backoff: z.enum(['fixed', 'linear', 'exponential']),
    delay: ms,
    maxDelay: ms,
    jitter: z.number(),
  }),
  retention: z.object({ completed: retention, failed: retention }),
  rateLimit: z.object({ max: z.int(), per: ms }).nullable(),
  priority: z.int().nullable(),
  maxCrashes: z.int(),
  maxWaiting: z.int().nullable(),
  alerts: alertRules.extend({ queueAge: ms.nullable(), noWorker: ms.nullable() }),
  version: z.int(),
  secret: z.array(z.string()).describe('Paths of the payload that only the handler sees'),
  schedules: z.array(declaredSchedule).describe('Those that code declares'),
  paused: jobPause.nullable().optional().describe('Missing while Redis is away'),
  payloadSchema: z.record(z.string(), z.unknown()).describe('JSON Schema of what the job takes'),
}) satisfies z.ZodType<ReturnType<typeof detailsOf>>;

export const goneJob = z.object({
  name: z.string(),
  app: z.string(),
  release: z.string().describe('The last one that declared it'),
  waiting: count,
  delayed: count,
  active: count,
  failed: count,
}) satisfies z.ZodType<GoneJob>;

export const tickView = z.object({
  time,
  to: time.nullable().describe('The last tick, where the entry is of several'),
  count: z.int().min(1),
  outcome: z.enum(tickOutcomes),
  reason: z.string().nullable(),
  due: time.nullable(),
  claimed: time.nullable(),
  started: time.nullable(),
  finished: time.nullable(),
  latenessMs: z.number().nullable(),
  durationMs: z.number().nullable().describe('Of its last attempt'),
  attempts: count.nullable(),
  run: z.string().nullable(),
}) satisfies z.ZodType<TickView>;

const scheduleFields = {
  id: z.string(),
  job: z.string(),
  description: z.string(),
  words: z.string(),
  timing: timingView,
  policy,
  overlap: z.enum(overlaps),
  lateAfterMs: ms.nullable(),
  alerts: ownAlerts,
  healthcheck,
  payload: z.unknown(),
  owner: z.string().describe('`api`, or `code:<app>`'),
  release: z.string().nullable(),
  put: z.object({ by: z.string(), at: time }).nullable().describe('Who put it at run time'),
  enabled: z.boolean(),
  triggerOnStart: z.boolean().optional(),
  next: time.nullable().describe('When its next run is due'),
  health: z.enum(healths),
  why: z.string().nullable().describe('What is the matter with it'),
  pause: z.object({ since: time, until: time.nullable(), by: z.string(), note: z.string() }).nullable(),
  runs: count.describe('How many its ticks have had'),
  last: tickView.nullable().describe('The newest entry of its ledger'),
};

export const scheduleView = z.object(scheduleFields) satisfies z.ZodType<ScheduleView>;

export const scheduleDetails = z.object({
  ...scheduleFields,
  upcoming: z.array(z.object({ time, due: time })),
  ledger: z
    .object({
      at: time.describe('Up to here every tick has its entry'),
      next: time.nullable(),
      knownFrom: time.nullable(),
    })
    .nullable(),
  ticks: z.array(tickView).describe('The newest, oldest first'),
  unreadable: count.describe('How many entries make no sense to this release'),
}) satisfies z.ZodType<ScheduleDetails>;

export const previewView = z.object({
  id: z.string(),
  words: z.string(),
  times: z.array(z.object({ time, due: time, local: z.string().nullable(), note: z.string().nullable() })),
  left: z
    .array(
      z.object({
        kind: z.enum(['excluded', 'jumped-over', 'cancelled']),
        time,
        to: time,
        count: z.int().min(1),
        local: z.string().nullable(),
        note: z.string(),
      }),
    )
    .describe(
      'What a calendar excludes, the clock jumps over or somebody has cancelled, on the way to the last of them',
    ),
  complete: z.boolean().describe('False where it was given up before so many were found'),
}) satisfies z.ZodType<PreviewView>;

export const auditEntry = z.object({
  id: z.string(),
  at: time,
  who: z.string().nullable().describe("A key's name, or the user and host of a command; null for a wrong key"),
  via: z.enum(['api', 'board', 'page', 'cli', 'sign-in']),
  from: z.string().describe('The address that asked; `cli` for a command'),
  action: z.string(),
  target: z.string().nullable(),
  status: z.int().nullable(),
  before: z.unknown(),
  after: z.unknown(),
  request: z.unknown(),
}) satisfies z.ZodType<AuditView>;

export const backfillView = z.object({
  id: z.string(),
  schedule: z.string(),
  job: z.string(),
  state: z.enum(['feeding', 'fed', 'stopped', 'cancelling', 'cancelled', 'done']),
  from: time,
  to: time,
  onlyMissed: z.boolean(),
  by: z.string(),
  createdAt: time,
  count,
  added: count,
  started: count,
}) satisfies z.ZodType<BackfillView>;

export const backfillPlan = z.object({
  count,
  first: time.nullable(),
  last: time.nullable(),
  leftOut: z.partialRecord(z.enum(leftOutReasons), count).describe('How many ticks of the range, and why'),
}) satisfies z.ZodType<BackfillPlanView>;
