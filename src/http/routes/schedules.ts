import { type Request, type Response, Router } from 'express';
import { z } from 'zod';
import type { Broker } from '../../broker/queues.js';
import { parseDuration } from '../../duration.js';
import type { Emit } from '../../jobs/events.js';
import type { Registry } from '../../jobs/registry.js';
import { nearest } from '../../problems.js';
import { findSchedules, viewSchedule } from '../../producers/browse.js';
import { pauseSchedule, removeSchedule, resumeSchedule, triggerSchedule } from '../../producers/operations.js';
import { previewStored } from '../../producers/preview.js';
import { putSchedule } from '../../producers/put.js';
import { findLedger, healths, listTicks, showSchedule, tickOutcomes } from '../../producers/views.js';
import { jsonBody } from '../body.js';
import { principalIn, requires } from '../guard.js';
import { answerMs, nameIn, read, refuseReversed } from '../request.js';
import { withinLongMs, withinMs } from '../within.js';

export interface ScheduleRoutesInput {
  readonly broker: Broker;
  readonly registry: Registry;
  readonly emit: Emit;
  readonly now: () => number;
}

/** When jobs run: look at schedules, put and remove those that no code declares, pause, resume and trigger any. */
export function scheduleRoutes(input: ScheduleRoutesInput): Router {
  const routes = Router();
  addReads(routes, input);
  addChanges(routes, input);
  addOperations(routes, input);
  return routes;
}

function addReads(routes: Router, { broker, registry, now }: ScheduleRoutesInput): void {
  routes.get('/schedules', requires('read'), async (request, response) => {
    const { cursor, ...query } = read(listQuery, request.query);
    const mine = jobsOf(response);
    const page = await withinLongMs(broker, listMs, () =>
      findSchedules(broker, { ...query, ...mine, after: cursor }, now()),
    );
    const next = page.last === null ? null : cursorOf(page.last);
    // Whose job's an unreadable one is nobody knows.
    response.json({ schedules: page.schedules, next, unreadable: mine.mayUse ? [] : page.unreadable });
  });

  routes.get('/schedules/:id', requires('read'), async (request, response) => {
    response.json(await withinMs(answerMs, showSchedule(broker, nameIn(request, 'id'), now())));
  });

  routes.get('/schedules/:id/ticks', requires('read'), async (request, response) => {
    const id = nameIn(request, 'id');
    const { outcome, ...range } = read(ticksQuery, request.query);
    const jobs = registry.jobs.map(({ name }) => name);
    const { job, removed } = await withinMs(answerMs, findLedger(broker, id, jobs));
    const found = await withinMs(answerMs, listTicks(broker, { job, schedule: id }, { ...range, outcomes: outcome }));
    response.json({ schedule: id, job, removed, ...found });
  });

  routes.get('/schedules/:id/preview', requires('read'), async (request, response) => {
    const id = nameIn(request, 'id');
    const { from = now(), count } = read(previewQuery, request.query);
    response.json(await withinMs(answerMs, previewStored(broker, id, { from, count })));
  });
}

function addChanges(routes: Router, { broker, registry, emit, now }: ScheduleRoutesInput): void {
  routes.put('/schedules/:id', requires('operate'), jsonBody, async (request, response) => {
    const id = nameIn(request, 'id');
    const put = putSchedule(broker, registry, id, request.body ?? {}, { by: asker(response), now: now() }, emit);
    const { result } = await withinMs(answerMs, put);
    if (result === 'created') response.status(201).location(`/v1/schedules/${id}`);
    response.json(await withinMs(answerMs, viewSchedule(broker, id, now())));
  });

  routes.delete('/schedules/:id', requires('operate'), async (request, response) => {
    await withinMs(answerMs, removeSchedule(broker, nameIn(request, 'id'), now(), emit));
    response.status(204).end();
  });
}

function addOperations(routes: Router, { broker, emit, now }: ScheduleRoutesInput): void {
  routes.post('/schedules/:id/pause', requires('operate'), jsonBody, async (request, response) => {
    const id = nameIn(request, 'id');
    const { note, until } = read(pauseBody(now()), request.body ?? {});
    const pause = { by: asker(response), note, until, now: now() };
    await withinMs(answerMs, pauseSchedule(broker, id, pause));
    response.json(await withinMs(answerMs, viewSchedule(broker, id, now())));
  });

  routes.post('/schedules/:id/resume', requires('operate'), jsonBody, async (request, response) => {
    const id = nameIn(request, 'id');
    read(nothing, request.body ?? {});
    await withinMs(answerMs, resumeSchedule(broker, id, now(), emit));
    response.json(await withinMs(answerMs, viewSchedule(broker, id, now())));
  });

  routes.post('/schedules/:id/trigger', requires('operate'), jsonBody, async (request: Request, response) => {
    const options = read(triggerBody, request.body ?? {});
    const { job, run } = await withinMs(answerMs, triggerSchedule(broker, nameIn(request, 'id'), options));
    const url = `/v1/jobs/${job}/runs/${encodeURIComponent(run)}`;
    response.status(202).location(url).json({ id: run, job, url });
  });
}

/** The jobs that a restricted key is for; nothing where it is for all. */
function jobsOf(response: Response): { mayUse?: (job: string) => boolean } {
  const principal = principalIn(response);
  return principal?.restricted ? { mayUse: principal.mayUse } : {};
}

/** A health is judged of each: ten thousand take a second or two. */
const listMs = 10_000;

function asker(response: Response): string {
  return principalIn(response)?.name ?? 'unknown';
}

const isoMoment = { error: 'an ISO time with a zone, such as "2026-11-21T07:00:00Z"' };
const momentQuery = z.iso
  .datetime({ offset: true, ...isoMoment })
  .transform((text) => new Date(text).getTime())
  .optional();
const limit = (most: number, usual: number) => z.coerce.number().int().min(1).max(most).default(usual);

export const listQuery = z.strictObject({
  job: z.string().optional(),
  owner: z.string().optional(),
  health: z.enum(healths).optional(),
  text: z.string().max(200).optional(),
  limit: limit(1_000, 100),
  cursor: z
    .string()
    .transform((text, context) => {
      const id = idIn(text);
      if (id === null) context.addIssue({ code: 'custom', message: 'what an earlier page answered as next' });
      return id ?? z.NEVER;
    })
    .optional(),
});

const outcomesExpected = `one or more of ${tickOutcomes.join(', ')}, comma-separated`;

const ticksFields = z.strictObject({
  from: momentQuery,
  to: momentQuery,
  outcome: z
    .string()
    .transform((text, context) => {
      const given = text.split(',').map((name) => name.trim());
      const known = tickOutcomes.filter((outcome) => given.includes(outcome));
      const strange = given.find((name) => !known.some((outcome) => outcome === name));
      const near = strange && nearest(strange, tickOutcomes);
      if (strange === undefined) return known;
      context.addIssue({ code: 'custom', message: outcomesExpected + (near ? ` (did you mean "${near}"?)` : '') });
      return z.NEVER;
    })
    .optional(),
  limit: limit(1_000, 20),
});

export const ticksQuery = ticksFields.superRefine(refuseReversed);

export const previewQuery = z.strictObject({ from: momentQuery, count: limit(1_000, 5) });

const nothing = z.strictObject({});

/** Forced, it starts even while another run executes, whatever the schedule says of overlap. */
export const triggerBody = z.strictObject({ force: z.boolean().default(false) });

const untilExpected = 'a duration such as "2h", or an ISO time with its zone, that is to come, within 100 years';

const longestPauseMs = 100 * 365 * 86_400_000;

export const pauseBody = (now: number) =>
  z.strictObject({
    note: z.string().max(1_000).default(''),
    until: z
      .string({ error: untilExpected })
      .transform((text, context) => {
        const ms = parseDuration(text);
        const time = ms === null ? (z.iso.datetime({ offset: true }).safeParse(text).data ?? null) : null;
        const until = ms === null ? Date.parse(time ?? '') : now + ms;
        if (until > now && until <= now + longestPauseMs) return until;
        context.addIssue({ code: 'custom', message: untilExpected });
        return z.NEVER;
      })
      .nullish()
      .transform((until) => until ?? null),
  });

function cursorOf(id: string): string {
  return Buffer.from(JSON.stringify({ after: id })).toString('base64url');
}

/** The id after which a page begins, or null where the cursor is none of ours. */
function idIn(cursor: string): string | null {
  try {
    const { after } = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as { after?: unknown };
    return typeof after === 'string' ? after : null;
  } catch {
    return null;
  }
}
