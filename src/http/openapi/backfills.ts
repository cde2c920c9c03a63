import { z } from 'zod';
import { backfillBody } from '../routes/backfills.js';
import type { Operation } from './operation.js';
import { backfillPlan, backfillView } from './views.js';

const path = '/v1/schedules/{id}/backfill';

const begun = z.object({ backfill: backfillView.nullable(), plan: backfillPlan });

export const backfillOperations: readonly Operation[] = [
  {
    id: 'backfillSchedule',
    method: 'post',
    path,
    tag: 'Schedules',
    summary: 'Run the ticks of a range that have no run',
    description: 'A producer adds the runs. The same range again, before all are added, is the same backfill.',
    scope: 'operate',
    body: { schema: backfillBody, required: true },
    answers: {
      200: {
        description: 'No tick is left, or it is a dry run',
        schema: z.union([begun, backfillPlan.extend({ dryRun: z.literal(true) })]),
      },
      202: { description: 'It is begun', schema: begun },
    },
    errors: [
      ...(['schedule-unknown', 'backfill-invalid', 'backfill-unconfirmed', 'schedule-paused', 'job-disabled'] as const),
      ...(['backfill-unknown', 'redis-unreachable'] as const),
    ],
  },
  {
    id: 'listBackfills',
    method: 'get',
    path,
    tag: 'Schedules',
    summary: 'Its backfills',
    scope: 'read',
    answers: { 200: { description: 'Backfills', schema: z.object({ backfills: z.array(backfillView) }) } },
    errors: ['schedule-unknown', 'redis-unreachable'],
  },
  {
    id: 'cancelBackfills',
    method: 'delete',
    path,
    tag: 'Schedules',
    summary: 'Cancel its backfills that are under way',
    scope: 'operate',
    answers: {
      202: {
        description: 'A producer removes what waits',
        schema: z.object({ backfills: z.array(backfillView) }),
      },
    },
    errors: ['schedule-unknown', 'backfill-unknown', 'redis-unreachable'],
  },
];
