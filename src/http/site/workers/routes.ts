import { type Response, Router } from 'express';
import { z } from 'zod';
import { RondoError } from '../../../errors.js';
import { cancel } from '../../../producers/cancel.js';
import { listProcesses } from '../../../producers/processes.js';
import { principalIn, requires } from '../../guard.js';
import { answerMs, nameIn, read } from '../../request.js';
import { withinMs } from '../../within.js';
import { sendPage } from '../frame.js';
import type { SiteInput } from '../input.js';
import { wantsEvents } from '../live.js';
import { cancelForm, type Viewer, workersContent, workersPage } from './page.js';

const section = '/workers';
const title = 'Workers';

const workersQuery = z.strictObject({
  did: z.enum(['cancel', 'ended']).optional(),
  /** Of the stream that keeps the page up to date. */
  parts: z.string().optional(),
});

/** The Workers page: who is alive, what each executes, and a way to cancel that. */
export function workersPageRoutes({ broker, registry, emit, now, live, restrict, guardChanges }: SiteInput): Router {
  const routes = Router();

  routes.get(section, async (request, response) => {
    const { did } = read(workersQuery, request.query);
    const viewer = viewerOf(response);
    const look = async () => withinMs(answerMs, listProcesses(broker));
    if (wantsEvents(request)) {
      const readParts = async () => new Map([['all', workersContent(await look(), viewer)]]);
      // What one key may see another may not.
      return live.follow(request, response, { key: `workers:${principalIn(response)?.name}`, read: readParts });
    }
    sendPage(response, { title, section, body: workersPage(await look(), viewer, did), live: section });
  });

  // Mounted, so that what guards changes sees the address that the API has for the same.
  const runs = Router();
  const path = '/jobs/:job/runs/:id/cancel';
  runs.get(path, requires('operate'), restrict, (request, response) => {
    const { name } = registry.get(nameIn(request, 'job'));
    sendPage(response, { title: 'Cancel a run', section, body: cancelForm(name, nameIn(request, 'id')) });
  });
  runs.post(path, requires('operate'), ...guardChanges, async (request, response) => {
    const { name } = registry.get(nameIn(request, 'job'));
    const by = principalIn(response)?.name ?? 'unknown';
    const did = await withinMs(answerMs, cancel(broker, name, nameIn(request, 'id'), { by, now }, emit)).then(
      () => 'cancel',
      (error: unknown) => {
        if (error instanceof RondoError && ['run-ended', 'run-unknown'].includes(error.code)) return 'ended';
        throw error;
      },
    );
    response.redirect(303, `${section}?did=${did}`);
  });
  routes.use(section, runs);
  return routes;

  function viewerOf(response: Response): Viewer {
    const principal = principalIn(response);
    return {
      mayUse: (job) => principal?.mayUse(job) ?? false,
      // As over the API: of a job that this api's code knows.
      mayCancel: (job) => (principal?.may('operate') ?? false) && registry.find(job) !== undefined,
    };
  }
}
