import { z } from 'zod';
import { redriveBody } from '../routes/redrive.js';
import { enqueueBody, listQuery } from '../routes/runs.js';
import type { Operation } from './operation.js';
import { runAddress, runDetails, runView } from './views.js';

const run = '/v1/jobs/{job}/runs/{id}';

export const runOperations: readonly Operation[] = [
  {
    id: 'enqueueRun',
    method: 'post',
    path: '/v1/jobs/{job}/runs',
    tag: 'Runs',
    summary: 'Enqueue a run',
    description: 'Redis has the run when this is answered.',
    scope: 'enqueue',
    body: { schema: enqueueBody, required: false, payloadAt: 'payload' },
    answers: {
      202: { description: 'It is enqueued', schema: runAddress, headers: { Location: 'Where the run is' } },
    },
    errors: ['job-unknown', 'job-disabled', 'payload-invalid', 'run-invalid', 'queue-full', 'redis-unreachable'],
  },
  {
    id: 'listRuns',
    method: 'get',
    path: '/v1/jobs/{job}/runs',
    tag: 'Runs',
    summary: 'The newest runs of a job',
    description: 'In one state or in any; of the delayed ones the soonest.',
    scope: 'read',
    query: listQuery,
    answers: { 200: { description: 'Runs', schema: z.object({ runs: z.array(runView) }) } },
    errors: ['job-unknown', 'redis-unreachable'],
  },
  {
    id: 'getRun',
    method: 'get',
    path: run,
    tag: 'Runs',
    summary: 'One run',
    scope: 'read',
    answers: { 200: { description: 'The run, with its log', schema: runDetails } },
    errors: ['job-unknown', 'run-unknown', 'redis-unreachable'],
  },
  {
    id: 'cancelRun',
    method: 'post',
    path: `${run}/cancel`,
    tag: 'Runs',
    summary: 'Cancel a run',
    description: 'One that waits is removed; one that executes has its signal aborted within a second.',
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
    description: 'Those that failed first go first. What somebody cancelled is redriven by its code alone.',
    scope: 'operate',
    body: { schema: redriveBody, required: false },
    answers: {
      200: {
        description: 'How many were redriven, and how many are failed still',
        schema: z.object({ job: z.string(), redriven: z.int().min(0), failed: z.int().min(0) }),
      },
    },
    errors: ['job-unknown', 'job-disabled', 'redis-unreachable'],
  },
];
