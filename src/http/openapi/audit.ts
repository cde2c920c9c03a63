import { z } from 'zod';
import { auditQuery } from '../routes/audit.js';
import type { Operation } from './operation.js';
import { auditEntry } from './views.js';

export const auditOperations: readonly Operation[] = [
  {
    id: 'listChanges',
    method: 'get',
    path: '/v1/audit',
    tag: 'Service',
    summary: 'Who changed what, when and from where, newest first',
    description: 'The last 10,000 changes, and as many sign-ins that failed. Without secrets.',
    scope: 'admin',
    query: auditQuery,
    answers: {
      200: {
        description: 'A page',
        schema: z.object({
          entries: z.array(auditEntry),
          next: z.string().nullable().describe('The cursor of the next page'),
        }),
      },
    },
    errors: ['redis-unreachable'],
  },
];
