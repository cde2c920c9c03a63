import { setImmediate } from 'node:timers/promises';
import express, { type Request, type Response, Router } from 'express';
import { RondoError } from '../../../errors.js';
import { viewSchedule } from '../../../producers/browse.js';
import {
  createOverview,
  type OverviewOutline,
  type OverviewQuery,
  type OverviewRow,
} from '../../../producers/overview.js';
import type { ScheduleView } from '../../../producers/views.js';
import { principalIn, requires } from '../../guard.js';
import { answerMs, nameIn, read } from '../../request.js';
import { withinLongMs, withinMs } from '../../within.js';
import { sendPage } from '../frame.js';
import type { Html } from '../html.js';
import type { SiteInput } from '../input.js';
import { type LiveSource, partsAsked, wantsEvents } from '../live.js';
import { type Action, type ActionForm, actions, formSection, freshValues, valuesOf } from './actions.js';
import { type Detail, type DetailQuery, detailQuery, type PartName, parts } from './detail.js';
import { detailPage } from './detail-page.js';
import {
  changedNote,
  chips,
  goneRow,
  type ListQuery,
  listAddress,
  listPage,
  listParts,
  listQuery,
  perPage,
  rowContent,
} from './list.js';
import { addressOf } from './parts.js';
import { readDetail } from './read-detail.js';

const section = '/schedules';
/** How ten thousand schedules stand is read within a second; a Redis that is slow gets more, in ms. */
const listMs = 10_000;
/** Counts, and which schedules are on a page, are asked for no more often: they take a look at all of them. In ms. */
const recountMs = 5_000;
/** As many as pages are kept up to date. */
const mostLists = 200;

/** The Schedules page: all of them, each of them, and what may be done with one. */
export function scheduleRoutes(input: SiteInput): Router {
  const routes = Router();
  addList(routes, input);
  addDetail(routes, input);
  addActions(routes, input);
  return routes;
}

function addList(routes: Router, { broker, now, live }: SiteInput): void {
  const overview = createOverview(broker);
  const outlines = keepOutlines();
  const readRows = askTogether((ids) => withinMs(answerMs, overview.rows(ids, now())));
  routes.get(section, async (request, response) => {
    const query = read(listQuery, request.query);
    const address = listAddress(query);
    const principal = principalIn(response);
    const mayUse = (job: string) => principal?.mayUse(job) ?? false;
    const { q: text, health, job, sort, page } = query;
    const asked = { text, health, job, sort, page, perPage, mayUse };
    if (wantsEvents(request)) {
      // What one key may see another may not; and who has loaded another list is told otherwise of its changes.
      const [listKey, ids] = [`${principal?.name}:${address}`, partsAsked(request).sort().join()];
      const outline = () => outlines(listKey, () => withinLongMs(broker, listMs, () => overview.outline(asked, now())));
      const read = listReader({ query, outline, readRows, mayUse });
      return live.follow(request, response, { key: `list:${listKey}:${ids}`, read });
    }
    const found = await withinLongMs(broker, listMs, () => overview.find(asked, now()));
    // Whose job's an unreadable one is nobody knows.
    const shown = principal?.restricted ? { ...found, unreadable: [] } : found;
    sendPage(response, { title: 'Schedules', section, body: listPage(query, shown), live: address });
  });
}

interface ListInput extends Pick<OverviewQuery, 'mayUse'> {
  readonly query: ListQuery;
  /** What the page would show by now; null where nobody knows yet. */
  readonly outline: () => OverviewOutline | null;
  readonly readRows: (ids: readonly string[]) => Promise<ReadonlyMap<string, OverviewRow>>;
}

function listReader({ query, outline, readRows, mayUse }: ListInput): LiveSource['read'] {
  return async (wanted) => {
    const ids = [...wanted].filter((part) => part !== listParts.chips && part !== listParts.changed);
    const rows = await readRows(ids);
    const contentOf = (id: string) => {
      const row = rows.get(id);
      return row && mayUse(row.view.job) ? rowContent(row) : goneRow(id);
    };
    const contents = new Map(ids.map((id) => [id, contentOf(id)]));
    const known = outline();
    if (!known) return contents;
    const isChanged = known.ids.length !== ids.length || known.ids.some((id) => !wanted.has(id));
    contents.set(listParts.chips, chips(query, known));
    return contents.set(listParts.changed, changedNote(query, isChanged));
  };
}

/** Keeps what lists would show for a while, for all who look at the same one. Nobody waits for it to be found anew. */
function keepOutlines() {
  const kept = new Map<string, { outline: OverviewOutline | null; askedAt: number }>();
  return (list: string, find: () => Promise<OverviewOutline>): OverviewOutline | null => {
    const known = kept.get(list) ?? { outline: null, askedAt: Number.NEGATIVE_INFINITY };
    if (performance.now() - known.askedAt < recountMs) return known.outline;
    known.askedAt = performance.now();
    kept.delete(list);
    kept.set(list, known);
    for (const [oldest] of kept) {
      if (kept.size <= mostLists) break;
      kept.delete(oldest);
    }
    find().then(
      (outline) => {
        known.outline = outline;
      },
      () => {}, // the rows tell what is wrong
    );
    return known.outline;
  };
}

/** What is asked for at the same moment is read at once: many lists show the same schedules. */
function askTogether<Answer>(read: (ids: readonly string[]) => Promise<Answer>) {
  let together: { readonly ids: Set<string>; readonly answer: Promise<Answer> } | null = null;
  return (ids: readonly string[]): Promise<Answer> => {
    if (!together) {
      const all = new Set<string>();
      const answer = setImmediate().then(() => {
        together = null;
        return read([...all]);
      });
      together = { ids: all, answer };
    }
    for (const id of ids) together.ids.add(id);
    return together.answer;
  };
}

function addDetail(routes: Router, input: SiteInput): void {
  const { registry, live, restrict } = input;
  routes.get(`${section}/:id`, restrict, async (request, response) => {
    const id = nameIn(request, 'id');
    const query = read(detailQuery, request.query);
    const mayOperate = principalIn(response)?.may('operate') ?? false;
    if (wantsEvents(request)) {
      const key = `schedule:${id}:${mayOperate}:${query.run ?? ''}`;
      // Of the address only what the key names: others look by the same reader.
      const followed = { outcome: null, run: query.run };
      return live.follow(request, response, { key, read: partsReader(input, id, followed, mayOperate) });
    }
    const detail = await readDetail(input, id, query, mayOperate);
    const body = detailPage(detail, query, registry);
    const from = `${addressOf(id)}${query.run === undefined ? '' : `?run=${encodeURIComponent(query.run)}`}`;
    sendPage(response, { title: id, section, body, live: from });
  });
}

function partsReader(input: SiteInput, id: string, query: DetailQuery, mayOperate: boolean) {
  let known: Detail | undefined;
  return async (wanted: ReadonlySet<string>): Promise<ReadonlyMap<string, Html>> => {
    const detail = await readDetail(input, id, query, mayOperate, known);
    known = detail;
    const names = (Object.keys(parts) as PartName[]).filter((name) => wanted.has(name));
    return new Map(names.map((name) => [name, parts[name](detail, query)]));
  };
}

function addActions(routes: Router, input: SiteInput): void {
  const { broker, now, restrict, guardChanges } = input;
  const form = express.urlencoded({ extended: false, limit: '10kb' });
  const path = `${section}/:id/:action`;

  routes.get(path, requires('operate'), restrict, async (request, response) => {
    const { action, name } = actionIn(request);
    const view = await withinMs(answerMs, viewSchedule(broker, nameIn(request, 'id'), now()));
    sendForm(response, view, name, action.form(view, freshValues()));
  });

  routes.post(path, requires('operate'), ...guardChanges, form, async (request, response) => {
    const { action, name } = actionIn(request);
    const view = await withinMs(answerMs, viewSchedule(broker, nameIn(request, 'id'), now()));
    const values = valuesOf(request);
    try {
      const done = await action.act(input, view, request, response);
      if (!('did' in done)) return sendForm(response, view, name, done);
      const parameters = new URLSearchParams({ did: done.did, ...(done.run !== undefined && { run: done.run }) });
      response.redirect(303, `${addressOf(view.id)}?${parameters}`);
    } catch (error) {
      if (!(error instanceof RondoError) || error.status >= 500 || error.code === 'schedule-unknown') throw error;
      sendForm(response, view, name, action.form(view, values), error);
    }
  });
}

function actionIn(request: Request): { action: Action; name: string } {
  const name = nameIn(request, 'action');
  const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
  if (!action) throw new RondoError('route-unknown', `${request.method} ${request.path}`);
  return { action, name };
}

function sendForm(
  response: Response,
  { id }: ScheduleView,
  name: string,
  form: ActionForm,
  error: RondoError | null = null,
): void {
  const body = formSection(id, name, form, error);
  sendPage(response, { title: form.title, section, body, status: error?.status ?? 200 });
}
