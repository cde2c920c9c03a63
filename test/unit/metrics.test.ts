import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { RunFacts } from '../../src/jobs/events.js';
import type { Watched } from '../../src/observability/liveness.js';
import { createMetrics } from '../../src/observability/metrics.js';
import { createProbes } from '../../src/observability/probes.js';
import { createPings } from '../../src/observability/redis-pings.js';
import { metricValue, parseMetrics } from '../support/prometheus.js';

const facts: RunFacts = { job: 'mail', run: '1', attempt: 1, maxAttempts: 3 };
const error = new Error('no');
const open = () => createMetrics({ app: 'shop', release: '7', process: false });
const read = async (metrics: ReturnType<typeof open>) => parseMetrics((await metrics.read()).text);

describe('what a process has seen', () => {
  it('counts attempts by outcome, from 0 on for the jobs of its worker', async () => {
    const metrics = open();
    metrics.addWorker([
      { name: 'mail', concurrency: 4, schedules: [] },
      { name: 'quiet', concurrency: 1, schedules: [] },
    ]);
    metrics.note({ type: 'run.succeeded', durationMs: 30, ...facts });
    metrics.note({ type: 'run.failed', durationMs: 3_000, code: null, reason: 'no', error, retryInMs: 5, ...facts });
    metrics.note({
      ...{ type: 'run.failed', durationMs: 9_000, code: 'run-timed-out', reason: 'no', error, retryInMs: null },
      ...facts,
    });
    metrics.note({ type: 'run.cancelled', durationMs: 10, by: 'ops', ...facts });
    metrics.note({ type: 'run.skipped', reason: 'overlap', ...facts });
    metrics.note({ type: 'run.interrupted', durationMs: 10, ...facts });
    metrics.note({ type: 'run.parked', ...facts });

    const found = await read(metrics);
    const attempts = (job_name: string) =>
      found
        .get('rondo_attempts_total')
        ?.samples.filter(({ labels }) => labels.job_name === job_name)
        .map(({ labels, value }) => `${labels.outcome} ${value}`);
    expect(attempts('mail')).toEqual([
      ...['succeeded 1', 'skipped 1', 'failed 1', 'timed-out 1', 'cancelled 1', 'interrupted 1', 'lock-lost 0'],
    ]);
    expect(attempts('quiet')?.every((line) => line.endsWith(' 0'))).toBe(true);
    expect(metricValue(found, 'rondo_worker_slots', { job_name: 'mail' })).toBe(4);
    const took = (suffix: string, labels: object) =>
      metricValue(found, `rondo_attempt_duration_seconds_${suffix}`, { job_name: 'mail', ...labels });
    expect(took('count', { outcome: 'succeeded' })).toBe(1);
    expect(took('bucket', { outcome: 'succeeded', le: '0.025' })).toBe(0);
    expect(took('bucket', { outcome: 'succeeded', le: '0.05' })).toBe(1);
    expect(took('sum', { outcome: 'failed' })).toBeCloseTo(12.01);
  });

  it('has histograms from 0 on for the jobs of its worker, of lateness where they have schedules', async () => {
    const metrics = open();
    metrics.addWorker([
      { name: 'daily', concurrency: 1, schedules: ['daily'] },
      { name: 'adhoc', concurrency: 1, schedules: [] },
    ]);
    metrics.note({ type: 'run.started', ...facts, job: 'other', latenessMs: 20 });
    const found = await read(metrics);
    const counts = (metric: string) =>
      found
        .get(metric)
        ?.samples.filter(({ name }) => name.endsWith('_count'))
        .map(({ labels, value }) => `${Object.values(labels).join(' ')} ${value}`);
    expect(counts('rondo_attempt_duration_seconds')).toEqual([
      ...['daily succeeded 0', 'daily failed 0', 'adhoc succeeded 0', 'adhoc failed 0'],
    ]);
    expect(counts('rondo_tick_lateness_seconds')).toEqual(['daily 0', 'other 1']);
    const bucket = { job_name: 'daily', outcome: 'failed', le: '+Inf' };
    expect(metricValue(found, 'rondo_attempt_duration_seconds_bucket', bucket)).toBe(0);
  });

  it('takes the lateness of each tick once: when its first attempt begins, or is left', async () => {
    const metrics = open();
    const tick = { ...facts, schedule: 'daily', tick: 0 };
    metrics.note({ type: 'run.started', ...tick, latenessMs: 20 });
    metrics.note({ type: 'run.succeeded', durationMs: 1, ...tick, latenessMs: 20 });
    metrics.note({ type: 'run.started', ...tick, attempt: 2, latenessMs: 20 });
    metrics.note({ type: 'run.skipped', reason: 'too late', ...tick, latenessMs: 90_000 });
    metrics.note({ type: 'run.started', ...facts }); // of no schedule
    const found = await read(metrics);
    expect(metricValue(found, 'rondo_tick_lateness_seconds_count')).toBe(2);
    expect(metricValue(found, 'rondo_tick_lateness_seconds_sum')).toBeCloseTo(90.02);
  });

  it('counts requests by method and status, and schedules that were healed', async () => {
    const metrics = open();
    metrics.addProducer([{ name: 'mail' }], () => true);
    for (const status of [200, 200, 404])
      metrics.note({ type: 'http.answered', method: 'GET', path: `/${status}`, status, durationMs: 5, key: null });
    metrics.note({ type: 'schedule.healed', schedule: 'daily', job: 'mail', reason: 'gone', next: null });
    const found = await read(metrics);
    expect(metricValue(found, 'rondo_http_request_duration_seconds_count', { status: '200' })).toBe(2);
    expect(metricValue(found, 'rondo_schedules_healed_total', { job_name: 'mail' })).toBe(1);
    expect(metricValue(found, 'rondo_producer_leads', { app_name: 'shop' })).toBe(1);
  });
});

describe('while Redis does not answer', () => {
  it('tells nothing of the store, and all of the process', async () => {
    const metrics = open();
    metrics.addStore(() => Promise.reject(new Error('away')));
    metrics.pings.watch('api', { status: 'reconnecting', ping: () => Promise.reject(new Error('away')) });
    const found = await read(metrics);
    expect(found.get('rondo_queue_runs')?.samples).toEqual([]);
    expect(metricValue(found, 'rondo_redis_up', { role: 'api' })).toBe(0);
    expect(metricValue(found, 'rondo_info', { app_name: 'shop', release: '7' })).toBe(1);
  });

  it('calls a Redis down that has not answered since it was last asked', async () => {
    let answer = () => {};
    let now = 0;
    const pings = createPings(() => now);
    const ping = () =>
      new Promise<void>((resolve) => {
        answer = resolve;
      });
    pings.watch('worker', { status: 'ready', ping });
    const up = async () => (await pings.families()[0]?.read())?.[0]?.value;
    expect(await up()).toBe(1);
    pings.askAll();
    expect(await up()).toBe(0);

    now = 40;
    answer();
    await new Promise(setImmediate);
    const samples = (await pings.families()[1]?.read()) ?? [];
    expect(samples.find(({ suffix }) => suffix === '_sum')?.value).toBeCloseTo(0.04);
    pings.askAll();
    expect(await up()).toBe(1);
  });
});

describe('the port for metrics and probes', () => {
  async function start(parts: () => readonly Watched[] | 'starting' | 'stopping') {
    const text = '# HELP a b\n';
    const probes = createProbes({
      host: '127.0.0.1',
      port: 0,
      parts,
      read: async () => ({ contentType: 'text/x', text }),
    });
    await probes.start();
    onTestFinished(() => probes.stop(0));
    return async (path: string, method = 'GET') => {
      const response = await fetch(probes.address() + path, { method });
      return { status: response.status, type: response.headers.get('content-type'), text: await response.text() };
    };
  }

  it('answers whoever asks, and says what it has', async () => {
    const ask = await start(() => []);
    expect(await ask('/metrics?from=anywhere')).toEqual({ status: 200, type: 'text/x', text: '# HELP a b\n' });
    expect(await ask('/livez')).toMatchObject({ status: 200, text: '{"status":"alive"}' });
    expect(await ask('/', 'GET')).toMatchObject({
      status: 404,
      text: expect.stringContaining('/metrics, /livez, /readyz'),
    });
    expect((await ask('/metrics', 'POST')).status).toBe(405);
  });

  it('is ready while every role is, and neither before all have started nor while they stop', async () => {
    let parts: readonly Watched[] | 'starting' | 'stopping' = 'starting';
    const ask = await start(() => parts);
    expect(await ask('/readyz')).toMatchObject({ status: 503, text: expect.stringContaining('starting') });
    expect((await ask('/livez')).status).toBe(200);

    const worker = { role: 'worker', trouble: async () => null };
    parts = [worker];
    expect(await ask('/readyz')).toMatchObject({ status: 200 });
    parts = [worker, { role: 'producer', trouble: async () => 'Redis is away' }];
    const { status, text } = await ask('/readyz');
    expect({ status, ...JSON.parse(text) }).toEqual({
      status: 'unready',
      parts: { worker: { status: 'ready' }, producer: { status: 'unready', reason: 'Redis is away' } },
    });
    expect(status).toBe(503);
    parts = 'stopping';
    expect(await ask('/readyz')).toMatchObject({ status: 503, text: expect.stringContaining('stopping') });
  });

  it('says which setting is wrong where somebody else has the port', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    onTestFinished(() => void other.close());
    const { port } = other.address() as AddressInfo;
    const probes = createProbes({
      ...{ host: '127.0.0.1', port, parts: () => [] },
      read: async () => ({ contentType: '', text: '' }),
    });
    await expect(probes.start()).rejects.toMatchObject({
      code: 'port-unusable',
      message: expect.stringContaining(`RONDO_METRICS_PORT ${port}: something listens there already`),
    });
  });
});

describe('the reader of the format that these tests use', () => {
  const good = '# HELP rondo_a_total a\n# TYPE rondo_a_total counter\nrondo_a_total{b="c"} 1\n';
  it('takes what is right', () => {
    expect(metricValue(parseMetrics(good), 'rondo_a_total', { b: 'c' })).toBe(1);
  });

  it.each([
    ['no end of the last line', good.trimEnd()],
    ['a second HELP', good + good],
    ['no HELP', good.replace(/# HELP.*\n/, '')],
    ['no TYPE', good.replace(/# TYPE.*\n/, '')],
    ['a line twice', `${good}rondo_a_total{b="c"} 1\n`],
    ['a line of another family', `${good}rondo_b_total 1\n`],
    ['a counter without _total', good.replaceAll('_total', '')],
    ['another set of labels', `${good}rondo_a_total{d="c"} 1\n`],
    ['a quote in a label', good.replace('"c"', '"c"d"')],
    ['no number', good.replace(' 1\n', ' one\n')],
    ['a negative counter', good.replace(' 1\n', ' -1\n')],
    ['a histogram without a sum', '# HELP h h\n# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_count 1\n'],
    [
      'buckets that fall',
      '# HELP h h\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n',
    ],
  ])('refuses %s', (_what, text) => {
    expect(() => parseMetrics(text)).toThrow();
  });
});
