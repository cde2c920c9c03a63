import { z } from 'zod';
import { pauseJobBody, resumeJobBody } from '../routes/job-pause.js';
import type { Operation } from './operation.js';
import { goneJob, jobPause, jobView } from './views.js';

export const jobOperations: readonly Operation[] = [
  {
    id: 'listJobs',
    method: 'get',
    path: '/v1/jobs',
    tag: 'Jobs',
    summary: 'Every job',
    scope: 'read',
    answers: { 200: { description: 'Definitions', schema: z.object({ jobs: z.array(jobView) }) } },
    errors: [],
  },
  {
    id: 'getJob',
    method: 'get',
    path: '/v1/jobs/{job}',
    tag: 'Jobs',
    summary: 'One job, with the JSON Schema of its payload',
    scope: 'read',
    answers: { 200: { description: 'The definition', schema: jobView } },
    errors: ['job-unknown'],
  },
  {
    id: 'listGoneJobs',
    method: 'get',
    path: '/v1/gone-jobs',
    tag: 'Jobs',
    summary: 'Jobs that code declares no longer, and that have runs',
    description: 'Of the app whose code this process has. Their runs wait until they are declared again.',
    scope: 'read',
    answers: { 200: { description: 'Names, and how many runs', schema: z.object({ jobs: z.array(goneJob) }) } },
    errors: ['redis-unreachable'],
  },
  {
    id: 'pauseJob',
    method: 'post',
    path: '/v1/jobs/{job}/pause',
    tag: 'Jobs',
    summary: 'Start no run of a job, of a schedule or not',
    description: 'What executes goes on.',
    scope: 'operate',
    body: { schema: pauseJobBody, required: false },
    answers: { 200: { description: 'It is paused', schema: z.object({ job: z.string(), paused: jobPause }) } },
    errors: ['job-unknown', 'redis-unreachable'],
  },
  {
    id: 'resumeJob',
    method: 'post',
    path: '/v1/jobs/{job}/resume',
    tag: 'Jobs',
    summary: 'Let the runs of a job start again',
    scope: 'operate',
    body: { schema: resumeJobBody, required: false },
    answers: {
      200: {
        description: 'Whether it was paused',
        schema: z.object({ job: z.string(), resumed: z.boolean() }),
      },
    },
    errors: ['job-unknown', 'redis-unreachable'],
  },
];
