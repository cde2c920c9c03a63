import { z } from 'zod';
import type { ChangeView, Deployed, DeployPlan } from '../../producers/deploy.js';
import type { Warning } from '../../producers/warnings.js';
import { applyBody } from '../routes/plan.js';
import type { Operation } from './operation.js';

const time = z.iso.datetime().describe('UTC');
const ms = z.int().describe('ms');
const count = z.int().min(0);

const change = z.object({
  kind: z.enum(['add', 'change', 'heal', 'remove']),
  id: z.string(),
  job: z.string(),
  before: time.nullable().describe('When its next run is due before the change'),
  after: time.nullable().describe('And after it'),
  why: z.string(),
}) satisfies z.ZodType<ChangeView>;

const compared = {
  app: z.string().describe('Whose code: that of the process that answers'),
  release: z.string(),
  changes: z.array(change),
  unchanged: count,
  conflicts: z.array(z.object({ id: z.string(), reason: z.string() })).describe('Left as they are'),
  refused: z
    .object({ ids: z.array(z.string()), owned: count })
    .nullable()
    .describe(
      'Schedules that would be removed or disabled, which wants a `yes`, and how many of the app’s are not disabled',
    ),
};

const warned = { schedules: z.array(z.string()), message: z.string() };
const warning = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('clock-change'), at: time, timezone: z.string(), ...warned }),
  z.object({ kind: z.literal('overlaps-itself'), durationMs: ms, intervalMs: ms, ...warned }),
  z.object({ kind: z.literal('pile-up'), at: time, alsoAt: count, spreadMs: ms, ...warned }),
]) satisfies z.ZodType<Warning>;

const deployPlan = z.object({ ...compared, warnings: z.array(warning) }) satisfies z.ZodType<DeployPlan>;
const deployed = z.object({
  ...compared,
  failed: z.array(z.object({ id: z.string(), error: z.string() })).describe('Changes that Redis refused'),
}) satisfies z.ZodType<Deployed>;

export const planOperations: readonly Operation[] = [
  {
    id: 'planSchedules',
    method: 'get',
    path: '/v1/plan',
    tag: 'Schedules',
    summary: 'What would change for the store to hold what the code of this process declares',
    description: 'And what there is to beware of. Nothing is written.',
    scope: 'read',
    answers: { 200: { description: 'The changes', schema: deployPlan } },
    errors: ['redis-unreachable'],
  },
  {
    id: 'applySchedules',
    method: 'post',
    path: '/v1/plan/apply',
    tag: 'Schedules',
    summary: 'Make those changes now, as a producer of the same release does when it starts',
    description: 'An older release refuses while a newer one is alive.',
    scope: 'admin',
    body: { schema: applyBody, required: false },
    answers: { 200: { description: 'What was changed', schema: deployed } },
    errors: ['release-outdated', 'redis-unreachable'],
  },
];
