import { z } from 'zod';
import { type ProcessView, processStates, type RunningView } from '../../producers/processes.js';
import { healths } from '../../producers/schedule-health.js';
import type { ServiceView } from '../../producers/service.js';
import type { Operation } from './operation.js';

const time = z.iso.datetime().describe('UTC');
const ms = z.number().min(0).describe('ms');
const count = z.int().min(0);

const runningRun = z.object({
  job: z.string(),
  run: z.string(),
  schedule: z.string().nullable(),
  tick: time.nullable().describe('The nominal time of its tick'),
  attempt: z.int().min(0),
  since: time,
  runningMs: ms,
  typicalMs: ms.nullable().describe("What its schedule's runs take, or its job's; of long runs alone"),
  stuck: z.string().nullable().describe('Why it is taken for stuck'),
}) satisfies z.ZodType<RunningView>;

export const processView = z.object({
  id: z.string().describe('Another one after each start'),
  host: z.string(),
  pid: count,
  roles: z.array(z.string()).describe('`worker`, `producer`, `api`'),
  app: z.string(),
  release: z.string(),
  version: z.string().describe('Of Rondo'),
  state: z.enum(processStates).describe('`silent` where it has told nothing for 12 s; after 30 s it is left out'),
  startedAt: time,
  seenAt: time,
  clockAheadMs: z.int().describe("By how much its clock is ahead of Redis's"),
  jobs: z.array(z.object({ name: z.string(), concurrency: count, timeoutMs: ms })).describe('What it takes runs of'),
  running: count.describe('How many runs it executes'),
  runs: z.array(runningRun).describe('The oldest 100 of them'),
  loopDelayMs: ms.describe('How late its timers are: the 99th percentile of the last few seconds'),
  memory: z.object({ rss: count, heapUsed: count, heapTotal: count }).describe('Bytes'),
}) satisfies z.ZodType<ProcessView>;

const processList = z.object({
  processes: z.array(processView),
  unreadable: z.array(z.string()).describe('Ids whose report this release cannot read'),
  left: count.describe('How many there are beyond the 500 that are listed'),
});

const service = z.object({
  trouble: z.array(z.string()).describe('What is wrong, in a sentence each; none where all is well'),
  leads: z
    .array(
      z.object({
        app: z.string(),
        led: z.boolean().describe('Whether some producer leads for it'),
        leader: processView.pick({ id: true, host: true, pid: true, release: true }).nullable(),
        producers: count.describe('How many of its producers are alive'),
      }),
    )
    .describe('Each app with schedules here'),
  processes: processList,
  schedules: z.object({ total: count, byHealth: z.partialRecord(z.enum(healths), count) }),
  next: z.array(z.object({ schedule: z.string(), job: z.string(), due: time })).describe('The first ten that are due'),
}) satisfies z.ZodType<ServiceView>;

export const workerOperations: readonly Operation[] = [
  {
    id: 'listWorkers',
    method: 'get',
    path: '/v1/workers',
    tag: 'Service',
    summary: 'Every process that is alive, and what it executes',
    description:
      'Workers, producers and apis tell every five seconds. One that stops is gone at once, one that is killed after 30 s.',
    scope: 'read',
    answers: {
      200: {
        description: 'The processes',
        schema: processList,
      },
    },
    errors: ['redis-unreachable'],
  },
  {
    id: 'getService',
    method: 'get',
    path: '/v1/service',
    tag: 'Service',
    summary: 'The whole service: who leads and works, how schedules are, and what is next',
    description: 'For a key that is for all jobs.',
    scope: 'read',
    answers: { 200: { description: 'The service', schema: service } },
    errors: ['redis-unreachable'],
  },
];
