import { z } from 'zod';
import type { Diagnosis } from '../../producers/examination.js';
import { type Finding, severities } from '../../producers/finding.js';
import type { Operation } from './operation.js';

const finding = z.object({
  about: z.enum(['settings', 'redis', 'clock', 'bullmq']),
  code: z.string().describe('Stable, to search for'),
  severity: z
    .enum(severities)
    .describe('`serious`: runs or ticks are lost, or do not happen; `warning`: they may; `note`: worth knowing'),
  what: z.string(),
  todo: z.string(),
  fixed: z.string().exactOptional().describe('What was done about it'),
}) satisfies z.ZodType<Finding>;

const diagnosis = z.object({
  serious: z.boolean().describe('Whether something serious is found, and not fixed'),
  looked: z.record(z.string(), z.string()).describe('What was looked at, by which process, and what was seen there'),
  findings: z.array(finding).describe('The worst first'),
}) satisfies z.ZodType<Diagnosis>;

export const doctorOperations: readonly Operation[] = [
  {
    id: 'examineService',
    method: 'get',
    path: '/v1/doctor',
    tag: 'Service',
    summary: 'What is wrong with this process, its Redis and what that holds, how bad it is, and what to do',
    description: 'For a key that is for all jobs.',
    scope: 'admin',
    answers: { 200: { description: 'What is found', schema: diagnosis } },
    errors: ['redis-unreachable'],
  },
  {
    id: 'fixService',
    method: 'post',
    path: '/v1/doctor/fix',
    tag: 'Service',
    summary: 'Put right what can be without a risk, and say what',
    description: 'It begins broken chains anew, and gives locks an end that have none. It removes no run.',
    scope: 'admin',
    answers: { 200: { description: 'What was found, and what of it is fixed', schema: diagnosis } },
    errors: ['redis-unreachable'],
  },
];
