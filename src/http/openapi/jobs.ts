import { z } from 'zod';
import type { Operation } from './operation.js';
import { jobView } from './views.js';

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
];
