import { createHash } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { type BackfillRecord, readBackfills } from '../broker/backfills.js';
import { RondoError } from '../errors.js';
import { timesOf } from '../jobs/enqueue-options.js';
import type { RondoEvent } from '../jobs/events.js';
import { isoTime } from '../jobs/words.js';
import type { Tracing } from '../observability/tracing.js';
import { readAudit } from '../producers/audit.js';
import { beginBackfill, previewBackfill, storedOr } from '../producers/backfill.js';
import { backfillView, listBackfills, planView } from '../producers/backfill-views.js';
import { viewSchedule } from '../producers/browse.js';
import { cancel } from '../producers/cancel.js';
import { deploy, planDeploy } from '../producers/deploy.js';
import { enqueueBulk, enqueueRun } from '../producers/enqueue.js';
import {
  cancelBackfills,
  feedBackfill,
  findStopped,
  isPaused,
  removeWaiting,
  resumeBackfill,
  stopBackfill,
} from '../producers/feed.js';
import { definitionOf, knownJob, listGone } from '../producers/gone-jobs.js';
import { listPaused, pauseJob, resumeJob } from '../producers/job-pause.js';
import { pauseSchedule, removeSchedule, resumeSchedule, triggerSchedule } from '../producers/operations.js';
import { previewStored } from '../producers/preview.js';
import { listProcesses } from '../producers/processes.js';
import { putSchedule, putSchedules } from '../producers/put.js';
import { redrive, retryRun } from '../producers/redrive.js';
import { walkRuns } from '../producers/run-pages.js';
import { findRun, listRuns } from '../producers/runs.js';
import type { Deployment } from '../producers/schedules.js';
import { readService } from '../producers/service.js';
import { readStore } from '../producers/store.js';
import { findLedger, listSchedules, listTicks, showSchedule } from '../producers/views.js';
import { audited, type Noted, type Operator } from './audited.js';
import type { BackfillControl, Control, EachOfMany } from './control.js';
import { whoAmI } from './who.js';

const quiet = () => {};

export interface RedisSession extends Operator {
  readonly config: Deployment;
  /** Commands that put runs into a queue begin a trace; null where nothing is traced. */
  readonly tracing: Tracing | null;
}

/** With Redis at hand: what changes something is noted in the audit log. */
export function redisControl(session: RedisSession): Control {
  const { broker, registry, config, tracing } = session;
  const traced = <Result>(command: string, work: () => Promise<Result>) =>
    tracing ? tracing.within(`rondo ${command}`, work) : work();
  const code = { registry, deployment: config, now: Date.now };
  const nameOf = (job: string) => registry.get(job).name;
  const ofSchedule = (action: string, id: string, request?: object): Noted => ({
    ...{ action, subject: { kind: 'schedule', id } },
    ...(request && { request }),
  });
  /** By changes to many: one that fails half-way is noted. */
  let changed = 0;
  const each: EachOfMany = {
    async pause(id, { by = whoAmI(), note, until }) {
      await pauseSchedule(broker, id, { by, note, until, now: Date.now() });
      changed++;
      return by;
    },
    async resume(id) {
      const resumed = await resumeSchedule(broker, id, Date.now(), quiet);
      if (resumed) changed++;
      return resumed;
    },
  };
  return {
    on: 'Redis',
    atOnce: 200,
    isAway: () => broker.client.status !== 'ready',

    enqueue: (job, payload, options) =>
      traced('jobs enqueue', async () => enqueueRun(broker, registry.get(job), { payload, options })),
    async enqueueMany(job, payloads, { at, delay, expiresIn, ...rest }, key) {
      const options = { ...rest, ...timesOf({ at, delay, expiresIn }, Date.now()) };
      const items = payloads.map((payload) => ({ payload, options }));
      const digest = createHash('sha256').update(key).digest('hex').slice(0, 32);
      const ticket = { idOf: (index: number) => `${digest}-${index}`, again: false };
      await traced('jobs enqueue', async () => enqueueBulk(broker, registry.get(job), items, { ticket }));
      changed += items.length;
    },
    async redrive(job, options) {
      const definition = registry.get(job);
      const noted: Noted = { action: 'jobs redrive', subject: { kind: 'job', job }, request: options };
      return audited(session, noted, () => redrive(broker, definition, options));
    },
    async pauseJob(job, { by = whoAmI(), note }) {
      const noted: Noted = { action: 'jobs pause', subject: { kind: 'job', job: nameOf(job) }, request: { by, note } };
      return audited(session, noted, () => pauseJob(broker, job, { by, note, now: Date.now() }));
    },
    async resumeJob(job) {
      const noted: Noted = { action: 'jobs resume', subject: { kind: 'job', job: nameOf(job) } };
      return audited(session, noted, () => resumeJob(broker, job));
    },
    pausedJobs: () => listPaused(broker, registry),
    goneJobs: () => listGone(broker, registry, config.app),

    workers: () => listProcesses(broker),
    service: () => readService(broker, Date.now()),

    async runs({ job, state, schedule, code, limit }) {
      const query = { ...(state && { state }), schedule, code, limit };
      if (job === undefined) return listRuns(broker, registry, query);
      const known = await knownJob(broker, registry, job);
      return walkRuns(broker, { ...query, job: known.name, definition: definitionOf(known) });
    },
    run: async (job, id) => findRun(broker, await knownJob(broker, registry, job), id),
    async cancelRun(job, id, by = whoAmI()) {
      const { name } = await knownJob(broker, registry, job);
      const noted: Noted = { action: 'runs cancel', subject: { kind: 'run', job: name, id }, request: { by } };
      return audited(session, noted, () => cancel(broker, name, id, { by, now: Date.now }, quiet));
    },
    async retryRun(job, id) {
      const definition = registry.get(job);
      const noted: Noted = { action: 'runs retry', subject: { kind: 'run', job, id } };
      await audited(session, noted, () => retryRun(broker, definition, id));
    },

    schedules: () => listSchedules(broker, Date.now()),
    schedule: (id, ticks) => showSchedule(broker, id, Date.now(), ticks),
    async ticks(id, wanted) {
      const names = registry.jobs.map(({ name }) => name);
      const of = await findLedger(broker, id, names);
      return { schedule: id, job: of.job, removed: of.removed, ...(await listTicks(broker, of, wanted)) };
    },
    preview: (id, input) => previewStored(broker, id, input),
    async put(id, fields, by = whoAmI()) {
      const { result } = await audited(session, ofSchedule('schedules put', id, { by }), () =>
        putSchedule(broker, registry, id, fields, { by, now: Date.now() }, quiet),
      );
      return { result, schedule: await viewSchedule(broker, id, Date.now()) };
    },
    putMany(list, by = whoAmI(), onProgress) {
      const noted: Noted = { action: 'schedules put --file', request: { by, schedules: list.length } };
      const input = { by, now: Date.now, onProgress };
      return audited(session, noted, () => putSchedules(broker, registry, list, input, quiet));
    },
    pause: (id, pause) => audited(session, ofSchedule('schedules pause', id), () => each.pause(id, pause)),
    resume: (id) => audited(session, ofSchedule('schedules resume', id), () => each.resume(id)),
    trigger: (id, { force = false }) =>
      audited(session, ofSchedule('schedules trigger', id, { force }), () =>
        traced('schedules trigger', () => triggerSchedule(broker, id, { force })),
      ),
    async remove(id) {
      const events: RondoEvent[] = [];
      await audited(session, ofSchedule('schedules remove', id), () =>
        removeSchedule(broker, id, Date.now(), (event) => events.push(event)),
      );
      return events.flatMap((event) => (event.type === 'ticks.caught-up' ? event.ticks.map(isoTime) : []));
    },
    async all() {
      const { stored, unreadable } = await readStore(broker);
      const schedules = [...stored.values()]
        .map(({ id, pause }) => ({ id, pause: pause ? { until: pause.until } : null }))
        .sort((a, b) => (a.id < b.id ? -1 : 1));
      return { schedules, unreadable: [...unreadable] };
    },
    asOne(noted, work) {
      changed = 0;
      return audited(
        session,
        noted,
        () => work(each),
        () => changed > 0,
      );
    },
    backfills: backfillsOn(session),

    plan: () => planDeploy(broker, code),
    apply: (yes) =>
      audited(session, { action: 'schedules apply', request: { yes } }, () =>
        deploy(broker, { ...code, removeMany: yes }, quiet),
      ),
    audit: async (wanted) => (await readAudit(broker, wanted)).entries,
  };
}

function backfillsOn(session: Operator): BackfillControl {
  const { broker } = session;
  const noted = (action: string, id: string): Noted => ({ action, subject: { kind: 'schedule', id } });
  return {
    preview: async (id, asked) => planView(await previewBackfill(broker, id, { ...asked, now: Date.now() })),
    async begin(id, { by = whoAmI(), ...asked }) {
      const input = { ...asked, by, now: Date.now() };
      const request = { from: isoTime(asked.from), to: isoTime(asked.to), onlyMissed: asked.onlyMissed, by };
      const { backfill, resumed, plan } = await audited(session, { ...noted('schedules backfill', id), request }, () =>
        beginBackfill(broker, id, input),
      );
      if (backfill && resumed) await resumeBackfill(broker, backfill);
      return { backfill: backfill && backfillView(backfill), resumed, plan: planView(plan) };
    },
    async resume(id) {
      const found = await findStopped(broker, id);
      if (!found) throw new RondoError('backfill-unknown', `none of ${id} is stopped`);
      await audited(session, noted('schedules backfill --resume', id), () => resumeBackfill(broker, found));
      return backfillView(found);
    },
    async follow({ id, job, schedule }, { isStopped, onStep }) {
      const { specification } = await storedOr(broker, schedule);
      const feeding = { mayGoOn: () => !isStopped(), onStep: (_: string, { fed }: BackfillRecord) => onStep(fed) };
      const found = (await readBackfills(broker, { job, schedule })).records.find((it) => it.id === id);
      if (!found) throw new RondoError('backfill-unknown', `${id} of ${schedule}`);
      const feed = () => feedBackfill(broker, found, specification, feeding);
      let record = await feed();
      // Another process is at it: this one looks on, and takes over where that one dies.
      while (record.state === 'feeding' && !isStopped() && !(await isPaused(broker, record, Date.now()))) {
        onStep(record.fed);
        await wait(500);
        record = await feed();
      }
      const state = isStopped() && (await stopBackfill(broker, record)) === 'stopped' ? 'stopped' : record.state;
      return backfillView({ ...record, state });
    },
    async cancel(id) {
      const done = [];
      const cancelled = await audited(session, noted('schedules backfill --cancel', id), () =>
        cancelBackfills(broker, id),
      );
      for (const record of cancelled) {
        done.push({ ...backfillView(record), removed: await removeWaiting(broker, record) });
      }
      return done;
    },
    list: (id) => listBackfills(broker, id),
  };
}
