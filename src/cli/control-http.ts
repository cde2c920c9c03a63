import { setTimeout as wait } from 'node:timers/promises';
import { caughtUpId } from '../broker/repeat.js';
import {
  createClient,
  RondoApiError,
  type RondoClient,
  RondoConnectionError,
  RondoTimeoutError,
  type RunsQuery,
} from '../client/index.js';
import type { ApiAccess } from '../config.js';
import { RondoError } from '../errors.js';
import { show } from '../problems.js';
import { chunks } from '../producers/chunks.js';
import type { Diagnosis } from '../producers/examination.js';
import type { PutOfMany } from '../producers/put.js';
import type { Redriven } from '../producers/redrive.js';
import type { RunView } from '../producers/run-view.js';
import type { ScheduleView } from '../producers/views.js';
import type { BackfillControl, Control, Definitions, RunsWanted } from './control.js';

/** Somebody sits and waits: no longer than this, in ms, where an API does not answer. */
const timeoutMs = 5_000;
/** Among many changes one may be told to wait its turn, by a limit of the key. */
const patientMs = 120_000;
const patient = { timeoutMs: patientMs };
/** As many as the API gives at once. */
const mostTicks = 1_000;

export function httpDefinitions(access: ApiAccess): Definitions {
  const { jobs } = createClient({ ...access, timeoutMs });
  return { jobs: () => jobs.list(), job: (name) => jobs.get(name) };
}

export function httpDoctor(access: ApiAccess, fix: boolean): Promise<Diagnosis> {
  return createClient(access).doctor({ fix });
}

/** Through an API. */
export function httpControl(access: ApiAccess): Control {
  const client = createClient({ ...access, timeoutMs });
  const { schedules, jobs } = client;
  const control: Control = {
    on: 'the API',
    atOnce: 10,
    isAway: (error) =>
      error instanceof RondoConnectionError ||
      error instanceof RondoTimeoutError ||
      (error instanceof RondoApiError && error.status >= 502),

    enqueue(job, payload, { expiresIn, ...options }) {
      // The API takes no less: one that is too late already is so a millisecond later, too.
      const expires = expiresIn !== undefined && { expiresIn: Math.max(1, expiresIn) };
      return client.enqueue(job, payload, { ...options, ...expires });
    },
    async enqueueMany(job, payloads, { at, ...options }, key) {
      const each = { ...options, ...(at !== undefined && { at: new Date(at) }) };
      const runs = payloads.map((payload) => ({ payload, ...each }));
      await client.enqueueBulk(job, runs, { ...patient, idempotencyKey: key });
    },
    redrive: async (job, options) => redriveAll(client, job, options),
    async pauseJob(job, { by, note }) {
      refuseBy(by);
      return jobs.pause(job, { note });
    },
    resumeJob: (job) => jobs.resume(job),
    pausedJobs: () => pausedOf(client),
    goneJobs: () => jobs.gone(),

    workers: () => client.workers(),
    service: () => client.service(),

    runs: (wanted) => runsOf(client, wanted),
    run: (job, id) => client.run(job, id),
    async cancelRun(job, id, by) {
      refuseBy(by);
      return client.cancel(job, id);
    },
    retryRun: (job, id) => client.retry(job, id),

    schedules: () => everySchedule(client),
    async schedule(id, ticks) {
      const view = await schedules.get(id, patient);
      return { ...view, ticks: view.ticks.slice(-ticks) };
    },
    ticks: (id, { from, to, outcomes, limit = mostTicks }) =>
      schedules.ticks(id, { ...momentsOf({ from, to }), ...(outcomes && { outcome: outcomes }), limit }),
    preview: (id, { from, count }) => schedules.preview(id, { from: new Date(from), count }),
    async put(id, fields, by) {
      refuseBy(by);
      return putOne(client, id, fields);
    },
    async putMany(list, by, onProgress) {
      refuseBy(by);
      return putEach(client, list, onProgress);
    },
    async pause(id, { by, note, until }) {
      refuseBy(by);
      const { pause } = await schedules.pause(id, {
        ...{ note, ...patient },
        ...(until !== null && { until: new Date(until) }),
      });
      return pause?.by ?? '';
    },
    async resume(id) {
      const { pause } = await schedules.get(id, patient);
      await schedules.resume(id, patient);
      return pause !== null;
    },
    async trigger(id, { force }) {
      const { id: run, job } = await schedules.trigger(id, { ...(force && { force }) });
      return { job, run };
    },
    async remove(id) {
      await schedules.remove(id);
      // Its ledger outlives it: what was caught up when it went is there, and has not begun.
      const { ticks } = await schedules.ticks(id, { outcome: ['waiting'], limit: mostTicks });
      return ticks.flatMap(({ time, run }) => (run === caughtUpId(id, Date.parse(time)) ? [time] : []));
    },
    async all() {
      const found = await everySchedule(client);
      const pausable = ({ id, pause }: ScheduleView) => ({
        id,
        pause: pause && { until: pause.until === null ? null : Date.parse(pause.until) },
      });
      return { schedules: found.schedules.map(pausable), unreadable: found.unreadable };
    },
    asOne: (_noted, work) => work(control), // the API notes each
    backfills: backfillsOn(client),

    plan: () => schedules.plan(patient),
    apply: (yes) => schedules.apply({ ...patient, yes }),
    async audit({ from, to, who, limit }) {
      const { entries } = await client.audit({ ...momentsOf({ from, to }), ...(who !== undefined && { who }), limit });
      return entries;
    },
  };
  return control;
}

/** Through an API the key says who asks. */
function refuseBy(by: string | undefined): void {
  if (by !== undefined)
    throw new RondoError('usage-wrong', 'through an API the name of the key says who asks: no --by');
}

/** @throws RondoError `redis-unreachable` where the API does not know, since its Redis is away */
async function pausedOf({ jobs }: RondoClient) {
  return (await jobs.list()).flatMap(({ name, paused }) => {
    if (paused === undefined) throw new RondoError('redis-unreachable', 'the API does not know which jobs are paused');
    return paused ? [{ job: name, ...paused }] : [];
  });
}

/** At most 5,000 with one request: those of a job with more are several, of what had failed at the first. */
export async function redriveAll(
  { jobs }: { readonly jobs: Pick<RondoClient['jobs'], 'redrive'> },
  job: string,
  options: { code?: string; limit?: number },
  atOnce = 1_000,
): Promise<Redriven> {
  const { limit = Number.POSITIVE_INFINITY, ...rest } = options;
  let redriven = 0;
  let before: string | null = null;
  for (;;) {
    const asked = Math.min(atOnce, limit - redriven);
    const done = await jobs.redrive(job, { ...rest, ...(before && { before }), limit: asked, timeoutMs: patientMs });
    before ??= done.before;
    redriven += done.redriven;
    if (done.redriven < asked || redriven >= limit) return { redriven, failed: done.failed };
  }
}

/** The newest of one job or of all; of the delayed ones the soonest. */
async function runsOf(client: RondoClient, { job, state, schedule, code, limit }: RunsWanted) {
  const query = { ...(state && { state }), ...(schedule && { schedule }), ...(code && { code }) };
  if (job !== undefined) return pagesOf(client, job, query, limit);
  const names = (await client.jobs.list()).map(({ name }) => name);
  const lists = await Promise.all(names.map((name) => pagesOf(client, name, query, limit)));
  const order = state === 'delayed' ? -1 : 1;
  const found = lists.flat().sort((a, b) => (a.dueAt < b.dueAt ? order : -order));
  return found.slice(0, limit);
}

async function pagesOf(client: RondoClient, job: string, query: RunsQuery, limit: number): Promise<RunView[]> {
  const found: RunView[] = [];
  let cursor: string | undefined;
  for (;;) {
    const page = { ...query, limit: Math.min(1_000, limit - found.length), ...(cursor && { cursor }) };
    const { runs, next } = await client.runs(job, page, patient);
    found.push(...runs);
    if (next === null || found.length >= limit) return found;
    cursor = next;
  }
}

async function everySchedule({ schedules }: RondoClient) {
  const found: ScheduleView[] = [];
  let cursor: string | undefined;
  for (;;) {
    const page = await schedules.list({ limit: 1_000, ...(cursor && { cursor }) }, patient);
    found.push(...page.schedules);
    if (page.next === null) return { schedules: found, unreadable: page.unreadable };
    cursor = page.next;
  }
}

/** What it does is seen by what was there before: the API tells what is there now. */
async function putOne({ schedules }: RondoClient, id: string, fields: object) {
  const before = await schedules.get(id, patient).catch((error: unknown) => {
    if (error instanceof RondoApiError && error.code === 'schedule-unknown') return null;
    throw error;
  });
  const schedule = await schedules.put(id, fields as never, patient);
  const changed = before === null ? 'created' : before.put?.at === schedule.put?.at ? 'unchanged' : 'changed';
  return { result: changed as 'created' | 'changed' | 'unchanged', schedule };
}

async function putEach(client: RondoClient, list: readonly unknown[], onProgress: (done: number) => void) {
  const done: PutOfMany[] = [];
  const seen = new Set<string>();
  const putFields = async (fields: unknown, position: number): Promise<PutOfMany> => {
    const { id, ...rest } = Object(fields) as { id?: unknown };
    if (typeof id !== 'string' || seen.has(id)) {
      const expected = typeof id === 'string' ? `${show(id)} again` : show(id);
      const problems = [{ where: 'id', expected: 'an id of its own', got: expected }];
      const error = new RondoError('schedule-invalid', '', { problems });
      return { id: typeof id === 'string' ? id : `number ${position + 1}`, result: 'failed', error };
    }
    seen.add(id);
    try {
      return { id, result: (await putOne(client, id, rest)).result };
    } catch (error) {
      return { id, result: 'failed', error };
    }
  };
  for (const batch of chunks(list, 10)) {
    const before = done.length;
    done.push(...(await Promise.all(batch.map((fields, index) => putFields(fields, before + index)))));
    onProgress(done.length);
  }
  return done;
}

/** A producer adds the runs: this looks on. */
function backfillsOn({ schedules }: RondoClient): BackfillControl {
  return {
    preview: (id, { from, to, onlyMissed }) =>
      schedules.previewBackfill(id, { ...rangeOf({ from, to }), onlyMissed }, patient),
    async begin(id, { from, to, onlyMissed, confirmed, by }) {
      refuseBy(by);
      const range = { ...rangeOf({ from, to }), onlyMissed, confirm: confirmed };
      const { backfill, plan } = await schedules.backfill(id, range, patient);
      return { backfill, resumed: backfill !== null && backfill.added > 0, plan };
    },
    async resume(id) {
      const found = (await schedules.backfills(id)).findLast(({ state }) => state === 'stopped');
      if (!found) throw new RondoError('backfill-unknown', `none of ${id} is stopped`);
      const { from, to, onlyMissed } = found;
      const { backfill } = await schedules.backfill(id, { from, to, onlyMissed, confirm: true }, patient);
      return backfill ?? found;
    },
    async follow(backfill, { isStopped, onStep }) {
      for (let found = backfill; ; ) {
        onStep(found.added);
        if (found.state !== 'feeding' || isStopped() || (await schedules.get(found.schedule)).pause) return found;
        await wait(500);
        const all = await schedules.backfills(found.schedule);
        found = all.find(({ id }) => id === backfill.id) ?? found;
      }
    },
    cancel: async (id) => (await schedules.cancelBackfills(id)).map((found) => ({ ...found, removed: null })),
    list: (id) => schedules.backfills(id),
  };
}

const rangeOf = ({ from, to }: { from: number; to: number }) => ({ from: new Date(from), to: new Date(to) });

function momentsOf({ from, to }: { from?: number | undefined; to?: number | undefined }) {
  return { ...(from !== undefined && { from: new Date(from) }), ...(to !== undefined && { to: new Date(to) }) };
}
