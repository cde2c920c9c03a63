import { Router } from 'express';
import { z } from 'zod';
import { createDayReader } from '../../../producers/read-day.js';
import { principalIn } from '../../guard.js';
import { read } from '../../request.js';
import { withinLongMs } from '../../within.js';
import { sendPage } from '../frame.js';
import type { SiteInput } from '../input.js';
import { dayPage } from './page.js';

const dayQuery = z.strictObject({ job: z.string().max(200).optional() });

/** Ten thousand schedules are read and reckoned within a second; a Redis that is slow gets more, in ms. */
const dayMs = 10_000;

/** The Day: where ticks pile up, and where the workers will not do. */
export function dayRoutes({ broker, now }: SiteInput): Router {
  const routes = Router();
  const readDay = createDayReader(broker);
  routes.get('/day', async (request, response) => {
    const { job: wanted } = read(dayQuery, request.query);
    const principal = principalIn(response);
    const day = await withinLongMs(broker, dayMs, () => readDay(now()));
    const mayShow = (job: string) => (principal?.mayUse(job) ?? false) && (wanted === undefined || job === wanted);
    const shown = {
      ...day,
      jobs: day.jobs.filter(({ job }) => mayShow(job)),
      shortfalls: day.shortfalls.filter(({ job }) => mayShow(job)),
      // Whose job's an unreadable one is nobody knows.
      unreadable: principal?.restricted ? [] : day.unreadable,
    };
    sendPage(response, { title: 'The day', section: '/day', body: dayPage(shown, wanted ?? null) });
  });
  return routes;
}
