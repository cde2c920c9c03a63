import { z } from 'zod';
import { type ProcessView, processStates, type RunningView } from '../../producers/processes.js';
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
        schema: z.object({
          processes: z.array(processView),
          unreadable: z.array(z.string()).describe('Ids whose report this release cannot read'),
          left: count.describe('How many there are beyond the 500 that are listed'),
        }),
      },
    },
    errors: ['redis-unreachable'],
  },
];
