import { readFileSync } from 'node:fs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { laneOptions } from '../../src/broker/lane.js';
import { begin, readTicks } from '../../src/broker/ledger.js';
import { ledgerKeys } from '../../src/broker/ledger-format.js';
import type { Broker } from '../../src/broker/queues.js';
import { isRange } from '../../src/broker/tick-entry.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { cancel } from '../../src/producers/cancel.js';
import { createFigures } from '../../src/producers/figures.js';
import { pauseJob } from '../../src/producers/job-pause.js';
import { pauseSchedule, resumeSchedule } from '../../src/producers/operations.js';
import { enqueue } from '../../src/producers/runs.js';
import { eventually, fixture } from '../support/harness.js';
import { apiKey, expectProblem, secretOf } from '../support/http.js';
import { writeJobs } from '../support/jobs-module.js';
import { startProgram } from '../support/processes.js';
import { type Family, metricValue, parseMetrics } from '../support/prometheus.js';
import { strangersIn } from '../support/promql.js';

/** How long a process may take to start on a busy machine, in ms. */
const startMs = 40_000;

const file = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');

describe('the metrics of a process with all roles', () => {
  it(
    'are what docs, dashboard and alerts say, on both of its ports, and its totals hold when it is killed',
    async () => {
      const { broker, prefix } = await fixture([]);
      const program = startProgram(['start'], {
        env: {
          RONDO_PREFIX: prefix,
          RONDO_APP: 'shop',
          RONDO_METRICS_PORT: '0',
          RONDO_API_KEYS: `reader:${secretOf('reader')}:read`,
          RONDO_JOBS: writeJobs(`export default [
          defineJob({ name: 'tock', schedules: [{ id: 'tock', every: '1s' }], run: () => null }),
          defineJob({
            name: 'breaks', retry: { attempts: 1 }, schedules: [{ id: 'breaks', every: '1s' }],
            run: () => { throw new Error('no'); },
          }),
        ];`),
        },
      });
      const told = async (matches: RegExp) => {
        const { msg } = await program.line((line) => matches.test(line.msg ?? ''), startMs);
        return matches.exec(String(msg))?.[1];
      };
      const api = await told(/^the board is at (.*)\/board$/);
      const probes = await told(/^metrics and probes are at (.*)$/);
      const headers = { authorization: `Bearer ${secretOf('reader')}` };
      const read = async (url: string) => parseMetrics(await (await fetch(url, { headers })).text());

      const found = await eventually(async () => {
        const families = await read(`${probes}/metrics`);
        const wanted = [
          'rondo_tick_lateness_seconds',
          'rondo_attempt_duration_seconds',
          'rondo_http_request_duration_seconds',
        ];
        const ended = families.get('rondo_ticks_total')?.samples.filter(({ value }) => value > 0) ?? [];
        await fetch(`${api}/livez`);
        return wanted.every((name) => families.get(name)?.samples.length) && ended.length >= 2 && families;
      }, startMs);

      expect([...(await read(`${api}/metrics`)).keys()]).toEqual([...found.keys()]);
      expect(await (await fetch(`${probes}/readyz`)).json()).toEqual({
        status: 'ready',
        parts: { worker: { status: 'ready' }, producer: { status: 'ready' }, api: { status: 'ready' } },
      });
      expect(documented()).toEqual(comingOut(found));
      expect(queriesOfAlerts().length).toBeGreaterThan(8);
      expect(queriesOfAlerts().flatMap((query) => strangersIn(query, found))).toEqual([]);
      expect(queriesOfDashboard().length).toBeGreaterThan(20);
      expect(queriesOfDashboard().flatMap((query) => strangersIn(query, found))).toEqual([]);
      expect(strangersIn('rate(rondo_gone_total[1m])', found)).toEqual(['rondo_gone_total']);
      expect(strangersIn('sum by (run) (rondo_ticks_total{outcome="gone"})', found)).toEqual([
        ...['rondo_ticks_total{outcome="gone"}', 'run'],
      ]);
      expect(metricValue(found, 'rondo_producer_leads', { app_name: 'shop' })).toBe(1);

      program.kill('SIGKILL');
      await program.exit;
      for (const job of ['tock', 'breaks']) {
        expect(await ticksCounted(broker, job, job)).toEqual(await ticksInLedger(broker, job, job));
        const queue = broker.queue(job);
        const { completed = 0, failed = 0 } = await queue.getJobCounts('completed', 'failed');
        const { ended } = await figuresOf(broker, job);
        expect(ended).toEqual({ completed, failed });
        expect(completed + failed).toBeGreaterThan(0);
      }
    },
    4 * startMs,
  );
});

describe('a worker and its port', () => {
  it(
    'tell of the process, and leave the store to producers and apis',
    async () => {
      const { prefix } = await fixture([]);
      const env = { RONDO_PREFIX: prefix, RONDO_METRICS_PORT: '0' };
      const program = startProgram(['worker'], { env });
      const line = await program.line(({ msg = '' }) => msg.startsWith('metrics and probes'), startMs);
      const [url] = /http:\S+/.exec(String(line.msg)) ?? [];
      await eventually(async () => (await fetch(`${url}/readyz`)).ok, startMs);

      const found = parseMetrics(await (await fetch(`${url}/metrics`)).text());
      expect(metricValue(found, 'rondo_worker_slots', { job_name: 'heartbeat' })).toBe(5);
      expect(metricValue(found, 'rondo_redis_up', { role: 'worker' })).toBe(1);
      expect(found.has('nodejs_eventloop_lag_p99_seconds')).toBe(true);
      expect([...found.keys()].filter((name) => /queue|ticks_total|producer/.test(name))).toEqual([]);
    },
    3 * startMs,
  );
});

describe('GET /metrics of an api', () => {
  const job = defineJob({ name: 'work', run: () => null });

  it('is for keys that may read about all jobs, and for nobody else', async () => {
    const { serve } = await fixture([job]);
    const mailer = { ...apiKey('mailer', ['read']), jobs: ['mail-*'] };
    const api = await serve({ keys: [apiKey('read', ['read']), apiKey('enqueue', ['enqueue']), mailer] });

    const { status, headers, body } = await api.call('GET', '/metrics', { key: 'read' });
    expect(status).toBe(200);
    expect(headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(metricValue(parseMetrics(body), 'rondo_queue_runs', { job_name: 'work', state: 'waiting' })).toBe(0);
    expectProblem(await api.call('GET', '/metrics', { key: null }), 401, 'unauthenticated');
    expectProblem(await api.call('GET', '/metrics', { key: 'enqueue' }), 403, 'forbidden');
    expectProblem(await api.call('GET', '/metrics', { key: 'mailer' }), 403, 'forbidden');
  });
});

describe('the figures of a store', () => {
  it('tell how many runs are in each state, and since when the oldest waits that a worker could take', async () => {
    const job = defineJob({ name: 'work', run: () => null });
    const { broker } = await fixture([job]);
    const now = Date.now();
    const figures = (later = 0) => figuresOf(broker, 'work', now + later);
    expect(await figures(60_000)).toMatchObject({ runs: { waiting: 0 }, oldestWaitingMs: 0, paused: false });

    await enqueue(broker, job, {}, { delay: 3_600_000 });
    expect(await figures(60_000)).toMatchObject({ runs: { waiting: 0, delayed: 1 }, oldestWaitingMs: 0 });
    await enqueue(broker, job, {}, { priority: 9 });
    const added = Date.now();
    await enqueue(broker, job, {}, { priority: 1 });
    const found = await figures(60_000);
    expect(found).toMatchObject({ runs: { waiting: 2, delayed: 1 }, paused: false });
    expect(found.oldestWaitingMs).toBeGreaterThanOrEqual(now + 60_000 - added);
    expect(found.oldestWaitingMs).toBeLessThanOrEqual(60_000);

    // The one of the lowest priority is kept waiting, however new the first is.
    const first = (await broker.queue('work').getPrioritized(0, 0))[0];
    await broker.client.hset(broker.queue('work').toKey(String(first?.id)), 'timestamp', now + 50_000);
    expect((await figures(60_000)).oldestWaitingMs).toBeGreaterThan(50_000);

    await pauseJob(broker, 'work', { by: 'ops', note: '', now });
    expect(await figures()).toMatchObject({ paused: true, runs: { waiting: 2 } });
  });

  it('take what is delayed and due for waiting, since only a worker lets it go on; not what a backfill has parked', async () => {
    const hour = 3_600_000;
    const job = defineJob({ name: 'work', schedules: [{ id: 'hourly', every: '1h' }], run: () => null });
    const { broker, produce } = await fixture([job]);
    await produce();
    const now = Date.now();
    const mark = { id: '1', index: 0 };
    await broker.queue('work').add('work', {}, { jobId: 'parked', ...laneOptions(now - hour, mark, now) });
    expect(await figuresOf(broker, 'work')).toMatchObject({ runs: { waiting: 0, delayed: 2 }, oldestWaitingMs: 0 });

    const found = await figuresOf(broker, 'work', now + 2 * hour);
    expect(found).toMatchObject({ runs: { waiting: 1, delayed: 1 }, schedules: { late: 1 } });
    expect(found.oldestWaitingMs).toBeGreaterThan(hour);
    expect(found.oldestWaitingMs).toBeLessThanOrEqual(2 * hour);
  });

  it('count ticks by what became of them as the ledger has them: run, failed, skipped, cancelled, paused, missed', async () => {
    const job = defineJob({
      ...{ name: 'work', concurrency: 5, retry: { attempts: 2, backoff: 'fixed', delay: '10ms', jitter: 0 } },
      schedules: [
        { id: 'goes', every: '1s' },
        { id: 'fails', every: '1s' },
        { id: 'skips', every: '1s', overlap: 'skip' },
      ],
      run: async ({ tick, signal }) => {
        if (tick?.schedule === 'fails') throw new Error('no');
        if (tick?.schedule === 'skips') await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    });
    const { broker, events, work, produce } = await fixture([job]);
    await produce();
    // They were due for an hour, and nobody was there.
    const hourAgo = Math.floor(Date.now() / 1_000) * 1_000 - 3_600_000;
    const goes = { job: 'work', schedule: 'goes' };
    await broker.client.hset(ledgerKeys(broker, goes).cursor, { at: hourAgo, next: hourAgo + 1_000 });
    await begin(broker, goes, hourAgo, hourAgo + 1_000);
    await work();
    await events.next('run.failed', ({ retryInMs }) => retryInMs === null);
    await events.next('run.skipped', ({ schedule }) => schedule === 'skips');
    const { run } = await events.next('run.started', ({ schedule }) => schedule === 'skips');
    await cancel(broker, 'work', run, { by: 'ops', now: Date.now }, () => {});
    await events.next('run.cancelled');
    await pauseSchedule(broker, 'goes', { by: 'ops', note: '', until: null, now: Date.now() });
    const due = Date.now() + 1_100;
    await eventually(() => Date.now() > due);
    await resumeSchedule(broker, 'goes', Date.now(), events.emit);

    const lateness = events.of('run.started').map(({ latenessMs }) => latenessMs ?? Number.NaN);
    expect(lateness.every((ms) => ms >= 0 && ms < 60_000)).toBe(true);

    const { ticks } = await figuresOf(broker, 'work');
    expect(Object.keys(ticks).filter((outcome) => (ticks[outcome] ?? 0) > 0)).toEqual(
      expect.arrayContaining(['succeeded', 'failed', 'skipped', 'cancelled', 'coalesced', 'paused']),
    );
    expect(ticks.coalesced).toBeGreaterThanOrEqual(3_590);
    await eventually(async () => {
      const inLedger = await Promise.all(job.schedules.map(({ id }) => ticksInLedger(broker, 'work', id)));
      const sum: Record<string, number> = {};
      for (const counts of inLedger) {
        for (const [outcome, count] of Object.entries(counts)) sum[outcome] = (sum[outcome] ?? 0) + count;
      }
      const counted = await ticksCounted(broker, 'work', 'goes');
      return JSON.stringify(sorted(sum)) === JSON.stringify(sorted(counted));
    });
  });

  it('tell schedules by their health, and the lead of the producers', async () => {
    const job = defineJob({
      name: 'work',
      schedules: ['a', 'b', 'c'].map((id) => ({ id, every: '1h' as const })),
      run: () => null,
    });
    const { broker, produce } = await fixture([job, defineJob({ name: 'other', run: () => null })]);
    const read = () => createFigures({ ...of(broker, 'work', 'other'), now: () => Date.now() + 1_000 })();
    expect((await read()).leaseMs).toBe(0);
    await produce();
    await pauseSchedule(broker, 'b', { by: 'ops', note: '', until: null, now: Date.now() });
    await broker.client.del(broker.queue('work').toKey('repeat:c'));
    await broker.client.hset(broker.keys.schedules, 'd', 'what no release has written');

    const { jobs, leaseMs, unreadable } = await read();
    expect(leaseMs).toBeGreaterThan(0);
    expect(unreadable).toBe(1);
    expect(jobs.map(({ schedules }) => schedules)).toMatchObject([{ sound: 1, paused: 1, broken: 1, late: 0 }, {}]);
    expect(jobs[1]?.schedules).toEqual({});
  });

  it('of a hundred jobs are a call for each, at most every five seconds, however many ask at once', async () => {
    const jobs = Array.from({ length: 100 }, (_, index) => `job-${index}`);
    const { broker } = await fixture([]);
    let elapsed = 0;
    const read = createFigures({ ...of(broker, ...jobs), elapsed: () => elapsed });
    const calls = vi.spyOn(broker.client, 'evalsha');
    onTestFinished(() => calls.mockRestore());

    const [first, second] = await Promise.all([read(), read()]);
    expect(first.jobs).toHaveLength(100);
    expect(second).toBe(first);
    expect(calls).toHaveBeenCalledTimes(100);
    elapsed = 4_999;
    expect(await read()).toBe(first);
    elapsed = 5_001;
    await read();
    expect(calls).toHaveBeenCalledTimes(200);
  });

  it('are asked for again where Redis did not answer', async () => {
    const { broker } = await fixture([]);
    const read = createFigures(of(broker, 'work'));
    const calls = vi.spyOn(broker.client, 'pttl').mockRejectedValueOnce(new Error('away'));
    onTestFinished(() => calls.mockRestore());
    await expect(read()).rejects.toThrow('away');
    expect((await read()).jobs).toHaveLength(1);
  });
});

function of(broker: Broker, ...jobs: string[]) {
  return { broker, app: 'test', jobs, now: Date.now, elapsed: () => performance.now() };
}

async function figuresOf(broker: Broker, job: string, now = Date.now()) {
  const { jobs } = await createFigures({ ...of(broker, job), now: () => now })();
  const [found] = jobs;
  if (!found) throw new Error(`no figures of ${job}`);
  return found;
}

async function ticksCounted(broker: Broker, job: string, schedule: string): Promise<Record<string, number>> {
  const counts = await broker.client.hgetall(ledgerKeys(broker, { job, schedule }).outcomes);
  return Object.fromEntries(Object.entries(counts).map(([outcome, count]) => [outcome, Number(count)]));
}

async function ticksInLedger(broker: Broker, job: string, schedule: string): Promise<Record<string, number>> {
  const { entries } = await readTicks(broker, { job, schedule });
  const counts: Record<string, number> = {};
  for (const entry of entries) {
    if (entry.outcome === 'running' || entry.outcome === 'waiting') continue;
    counts[entry.outcome] = (counts[entry.outcome] ?? 0) + (isRange(entry) ? entry.count : 1);
  }
  return counts;
}

const sorted = (counts: Record<string, number>) => Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1));

/** Each family of ours as the table of the page has it: name, type and labels. */
function documented(): string[] {
  const rows = file('docs/metrics.md').matchAll(/^\| `(rondo_\w+)` \| (\w+) \| ([^|]*)\|/gm);
  return [...rows].map(([, name, type, labels = '']) => `${name} ${type} ${labels.replaceAll(/[`\s]/g, '')}`).sort();
}

function comingOut(families: ReadonlyMap<string, Family>): string[] {
  const ours = [...families].filter(([name]) => name.startsWith('rondo_'));
  return ours.map(([name, { type, samples }]) => `${name} ${type} ${labelsOf(samples[0]?.labels)}`).sort();
}

function labelsOf(labels: Readonly<Record<string, string>> = {}): string {
  return Object.keys(labels)
    .filter((label) => label !== 'le')
    .join();
}

function queriesOfAlerts(): string[] {
  return [...file('deploy/alerts.yml').matchAll(/^ +expr: (.+)$/gm)].map(([, query = '']) => query);
}

function queriesOfDashboard(): string[] {
  const found: string[] = [];
  JSON.stringify(JSON.parse(file('deploy/grafana-dashboard.json')), (key, value) => {
    if (key === 'expr' || key === 'definition') found.push(value);
    return value;
  });
  return found;
}
