import { type Request, Router } from 'express';
import { z } from 'zod';
import type { Broker } from '../../broker/queues.js';
import { RondoError } from '../../errors.js';
import { problemsOf } from '../../problems.js';
import { beginBackfill, previewBackfill } from '../../producers/backfill.js';
import { backfillView, listBackfills, planView } from '../../producers/backfill-views.js';
import { cancelBackfills, resumeBackfill } from '../../producers/feed.js';
import { jsonBody } from '../body.js';
import { principalIn, requires } from '../guard.js';
import { withinLongMs, withinMs } from '../within.js';

/** Backfills of a schedule: begin one, look at them, cancel them. A producer adds the runs, and removes them. */
export function backfillRoutes(broker: Broker, now: () => number): Router {
  const routes = Router();
  const path = '/schedules/:id/backfill';

  routes.post(path, requires('operate'), jsonBody, async (request, response) => {
    const { dryRun, confirm, ...wanted } = read(request.body ?? {});
    if (dryRun) {
      const plan = await withinLongMs(broker, planMs, () =>
        previewBackfill(broker, idIn(request), { ...wanted, now: now() }),
      );
      response.json({ dryRun, ...planView(plan) });
      return;
    }
    const by = principalIn(response)?.name ?? 'unknown';
    const input = { ...wanted, by, now: now(), confirmed: confirm };
    const { backfill, resumed, plan } = await withinLongMs(broker, planMs, () =>
      beginBackfill(broker, idIn(request), input),
    );
    if (backfill && resumed) await withinMs(answerMs, resumeBackfill(broker, backfill));
    const state = resumed ? { state: 'feeding' as const } : {};
    response
      .status(backfill ? 202 : 200)
      .json({ backfill: backfill && backfillView({ ...backfill, ...state }), plan: planView(plan) });
  });

  routes.get(path, requires('read'), async (request, response) => {
    response.json({ backfills: await withinMs(answerMs, listBackfills(broker, idIn(request))) });
  });

  routes.delete(path, requires('operate'), async (request, response) => {
    const cancelled = await withinMs(answerMs, cancelBackfills(broker, idIn(request)));
    response.status(202).json({ backfills: cancelled.map(backfillView) });
  });

  return routes;
}

/** A caller waits no longer than this for Redis, in ms; for a million ticks to be counted, so long. */
const answerMs = 1_500;
const planMs = 15_000;

export const momentSchema = z
  .union([z.iso.datetime({ offset: true }), z.iso.datetime({ offset: true, precision: -1 }), z.iso.date()], {
    error: 'an ISO time with a zone, such as "2026-11-21T07:00:00Z"',
  })
  .transform((time) => Date.parse(time));

export const backfillBody = z.strictObject({
  from: momentSchema,
  to: momentSchema,
  onlyMissed: z.boolean().default(false),
  dryRun: z.boolean().default(false),
  /** More than a hundred thousand ticks are meant. */
  confirm: z.boolean().default(false),
});

function read(body: unknown): z.output<typeof backfillBody> {
  const found = backfillBody.safeParse(body);
  if (found.success) return found.data;
  const known = () => Object.keys(backfillBody.shape);
  throw new RondoError('request-invalid', '', { problems: problemsOf(found.error, body, { known }) });
}

function idIn(request: Request): string {
  return String(request.params.id);
}
