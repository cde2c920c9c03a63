import { z } from 'zod';
import { bulkBody, enqueueBody } from '../routes/enqueue.js';
import { redriveBody } from '../routes/redrive.js';
import { listQuery, runQuery } from '../routes/runs.js';
import type { Operation } from './operation.js';
import { deduplicated, runAddress, runDetails, runView } from './views.js';

const run = '/v1/jobs/{job}/runs/{id}';

const idempotencyKey = z.object({
  'Idempotency-Key': z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/)
    .optional()
    .describe('The same key with the same request is answered as before for 24 h, and enqueues nothing'),
});
const replayed = { 'Idempotent-Replayed': '`true` where it was answered before' };
const idempotency = ['idempotency-mismatch', 'idempotency-in-progress'] as const;
const enqueued = ['job-unknown', 'job-disabled', 'queue-full', 'redis-unreachable', ...idempotency] as const;

export const runOperations: readonly Operation[] = [
  {
    id: 'enqueueRun',
    method: 'post',
    path: '/v1/jobs/{job}/runs',
    tag: 'Runs',
    summary: 'Enqueue a run',
    description: 'Redis has the run when this is answered.',
    scope: 'enqueue',
    headers: idempotencyKey,
    body: { schema: enqueueBody, required: false, payloadAt: 'payload' },
    answers: {
      202: {
        description: 'It is enqueued',
        schema: runAddress.extend(deduplicated),
        headers: { Location: 'Where the run is', ...replayed },
      },
    },
    errors: ['payload-invalid', 'run-invalid', ...enqueued],
  },
  {
    id: 'enqueueRuns',
    method: 'post',
    path: '/v1/jobs/{job}/runs/bulk',
    tag: 'Runs',
    summary: 'Enqueue up to 5,000 runs, all or none',
    scope: 'enqueue',
    headers: idempotencyKey,
    body: { schema: bulkBody, required: true, payloadAt: 'runs[].payload' },
    answers: {
      202: {
        description: 'They are enqueued',
        schema: z.object({ job: z.string(), runs: z.array(z.object({ id: z.string(), ...deduplicated })) }),
        headers: replayed,
      },
    },
    errors: ['run-invalid', ...enqueued],
  },
  {
    id: 'listRuns',
    method: 'get',
    path: '/v1/jobs/{job}/runs',
    tag: 'Runs',
    summary: 'The newest runs of a job, by pages',
    description:
      'In one state or in any; of the delayed ones the soonest, of those with a priority the last to be taken.',
    scope: 'read',
    query: listQuery,
    answers: {
      200: {
        description: 'A page',
        schema: z.object({
          runs: z.array(runView),
          next: z.string().nullable().describe('The cursor of the next page'),
        }),
      },
    },
    errors: ['job-unknown', 'redis-unreachable'],
  },
  {
    id: 'getRun',
    method: 'get',
    path: run,
    tag: 'Runs',
    summary: 'One run, now or once it has ended',
    description: 'With `wait` as soon as it has ended, or as it is when the time is over.',
    scope: 'read',
    query: runQuery,
    answers: { 200: { description: 'The run, with its log', schema: runDetails } },
    errors: ['job-unknown', 'run-unknown', 'waiters-full', 'redis-unreachable'],
  },
  {
    id: 'followRun',
    method: 'get',
    path: `${run}/events`,
    tag: 'Runs',
    summary: 'What happens to a run, as it happens',
    description: 'Server-sent events: `state`, `progress`, `log`, `end`, and `error`, after which the stream ends too.',
    scope: 'read',
    headers: z.object({ 'Last-Event-ID': z.string().optional().describe('Goes on behind the event with this id') }),
    answers: {
      200: { description: 'The events', schema: z.string(), type: 'text/event-stream' },
      204: { description: 'There is nothing behind the `end` that Last-Event-ID names' },
    },
    errors: ['job-unknown', 'run-unknown', 'waiters-full', 'redis-unreachable'],
  },
  {
    id: 'cancelRun',
    method: 'post',
    path: `${run}/cancel`,
    tag: 'Runs',
    summary: 'Cancel a run',
    description:
      'One that waits is removed, the next of a schedule too; one that executes has its signal aborted within a second.',
    scope: 'operate',
    answers: {
      202: {
        description: '`removed` where it waited, `told` where it executes',
        schema: z.object({ id: z.string(), job: z.string(), cancelled: z.enum(['removed', 'told']) }),
      },
    },
    errors: ['job-unknown', 'run-unknown', 'run-ended', 'redis-unreachable'],
  },
  {
    id: 'retryRun',
    method: 'post',
    path: `${run}/retry`,
    tag: 'Runs',
    summary: 'Let a run that failed begin anew',
    scope: 'operate',
    answers: { 202: { description: 'It waits again', schema: runAddress } },
    errors: ['job-unknown', 'run-unknown', 'run-not-failed', 'job-disabled', 'redis-unreachable'],
  },
  {
    id: 'redriveJob',
    method: 'post',
    path: '/v1/jobs/{job}/redrive',
    tag: 'Runs',
    summary: 'Let the failed runs of a job begin anew',
    description:
      'Those that failed first go first. What somebody cancelled is redriven by its code alone. Whoever asks again until none is left sends the `before` of the first answer: what fails again meanwhile is passed over.',
    scope: 'operate',
    body: { schema: redriveBody, required: false },
    answers: {
      200: {
        description: 'How many were redriven, and how many are failed still',
        schema: z.object({
          job: z.string(),
          redriven: z.int().min(0),
          failed: z.int().min(0),
          before: z.iso.datetime().nullable(),
        }),
      },
    },
    errors: ['job-unknown', 'job-disabled', 'redis-unreachable'],
  },
];
