import { z } from 'zod';
import { calendarSchema } from '../../jobs/exclusion-options.js';
import { nameSchema } from '../../jobs/fields.js';
import { scheduleFields } from '../../jobs/options.js';
import { momentSchema } from '../routes/backfills.js';
import { listQuery, pauseBody, previewQuery, ticksQuery, triggerBody } from '../routes/schedules.js';
import type { Operation } from './operation.js';
import { previewView, runAddress, scheduleDetails, scheduleView, tickView } from './views.js';

const one = '/v1/schedules/{id}';

/** What a PUT takes: the fields of a schedule in a definition, without `next()`, which is code. */
export const putBody = scheduleFields.omit({ id: true, next: true }).extend({
  job: nameSchema.describe('Whose schedule it is: that never changes'),
  id: nameSchema.optional().describe('As in the address, if given'),
  at: momentSchema.optional(),
  startsAt: momentSchema.optional(),
  endsAt: momentSchema.optional(),
  exclude: z
    .array(z.union([nameSchema, calendarSchema]))
    .min(1)
    .optional()
    .describe('Calendars in place, or names of those that the jobs declare'),
});

export const scheduleOperations: readonly Operation[] = [
  {
    id: 'listSchedules',
    method: 'get',
    path: '/v1/schedules',
    tag: 'Schedules',
    summary: 'Schedules, in the order of their ids',
    scope: 'read',
    query: listQuery,
    answers: {
      200: {
        description: 'A page',
        schema: z.object({
          schedules: z.array(scheduleView),
          next: z.string().nullable().describe('The cursor of the next page'),
          unreadable: z.array(z.string()).describe('Ids whose entry this release cannot read'),
        }),
      },
    },
    errors: ['redis-unreachable'],
  },
  {
    id: 'getSchedule',
    method: 'get',
    path: one,
    tag: 'Schedules',
    summary: 'One schedule, with its last ticks and its next times',
    scope: 'read',
    answers: { 200: { description: 'The schedule', schema: scheduleDetails } },
    errors: ['schedule-unknown', 'ledger-unreadable', 'redis-unreachable'],
  },
  {
    id: 'putSchedule',
    method: 'put',
    path: one,
    tag: 'Schedules',
    summary: 'Create a schedule, or change one that was put before',
    scope: 'operate',
    body: { schema: putBody, required: true },
    answers: {
      200: { description: 'It is so now, or was before', schema: scheduleView },
      201: { description: 'It is created', schema: scheduleView, headers: { Location: 'Where it is' } },
    },
    errors: [
      ...(['schedule-invalid', 'job-unknown', 'job-disabled', 'schedule-declared', 'schedule-conflict'] as const),
      'redis-unreachable',
    ],
  },
  {
    id: 'removeSchedule',
    method: 'delete',
    path: one,
    tag: 'Schedules',
    summary: 'Remove a schedule that no code declares',
    scope: 'operate',
    answers: { 204: { description: 'It is gone' } },
    errors: ['schedule-unknown', 'schedule-declared', 'redis-unreachable'],
  },
  {
    id: 'pauseSchedule',
    method: 'post',
    path: `${one}/pause`,
    tag: 'Schedules',
    summary: 'Pause a schedule, for good or until a time',
    scope: 'operate',
    body: { schema: pauseBody(0), required: false },
    answers: { 200: { description: 'The schedule', schema: scheduleView } },
    errors: ['schedule-unknown', 'redis-unreachable'],
  },
  {
    id: 'resumeSchedule',
    method: 'post',
    path: `${one}/resume`,
    tag: 'Schedules',
    summary: 'Let a schedule go on',
    scope: 'operate',
    body: { schema: z.strictObject({}), required: false },
    answers: { 200: { description: 'The schedule', schema: scheduleView } },
    errors: ['schedule-unknown', 'redis-unreachable'],
  },
  {
    id: 'triggerSchedule',
    method: 'post',
    path: `${one}/trigger`,
    tag: 'Schedules',
    summary: 'Start a run of it now, which is no tick',
    scope: 'operate',
    body: { schema: triggerBody, required: false },
    answers: {
      202: { description: 'It is enqueued', schema: runAddress, headers: { Location: 'Where the run is' } },
    },
    errors: ['schedule-unknown', 'job-disabled', 'redis-unreachable'],
  },
  {
    id: 'listTicks',
    method: 'get',
    path: `${one}/ticks`,
    tag: 'Schedules',
    summary: 'What became of its ticks, oldest first',
    description: 'The newest entries that fit. For a month also of a schedule that was removed.',
    scope: 'read',
    query: ticksQuery,
    answers: {
      200: {
        description: 'Entries of its ledger',
        schema: z.object({
          schedule: z.string(),
          job: z.string(),
          removed: z.iso.datetime().nullable(),
          ticks: z.array(tickView),
          unreadable: z.int().min(0).describe('How many entries make no sense to this release'),
          knownFrom: z.iso.datetime().nullable().describe('What was before has been forgotten'),
        }),
      },
    },
    errors: ['schedule-unknown', 'ledger-unreadable', 'redis-unreachable'],
  },
  {
    id: 'previewSchedule',
    method: 'get',
    path: `${one}/preview`,
    tag: 'Schedules',
    summary: 'Its next ticks, and when they are due',
    description: 'Pauses are not looked at.',
    scope: 'read',
    query: previewQuery,
    answers: { 200: { description: 'Times', schema: previewView } },
    errors: ['schedule-unknown', 'schedule-uncomputable', 'redis-unreachable'],
  },
];
