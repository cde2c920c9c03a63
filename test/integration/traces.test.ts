import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { defineJob } from '../../src/jobs/define-job.js';
import { enqueue } from '../../src/producers/runs.js';
import { type CollectedSpan, startCollector } from '../support/collector.js';
import { eventually, fixture, freshPrefix } from '../support/harness.js';
import { type Api, callsTo, secretOf } from '../support/http.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { tellsWhatItLoads } from '../support/preloads.js';
import { type Line, runProgram, startProgram } from '../support/processes.js';

const caller = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' };
const traceparent = `00-${caller.traceId}-${caller.spanId}-01`;
const atOnce = { OTEL_BSP_SCHEDULE_DELAY: '20' };

const source = `
  import { httpRequest } from 'rondo';
  import { createClient } from 'rondo/client';
  const quick = { attempts: 2, delay: 1, jitter: 0 };
  export default [
    httpRequest({ allow: ['127.0.0.1'] }),
    defineJob({
      name: 'parent',
      retry: quick,
      payload: z.object({ url: z.string(), word: z.string() }),
      async run({ payload, run, log, traceparent }) {
        log.info('at work');
        if (run.attempt === 1) throw new Error('not yet');
        const client = createClient({ url: payload.url, key: '${secretOf('admin')}', headers: () => ({ traceparent }) });
        await client.enqueue('child', {});
        return { word: payload.word };
      },
    }),
    defineJob({ name: 'child', payload: z.looseObject({}), run: ({ log, traceparent }) => log.info({ traceparent }, 'seen') }),
    defineJob({ name: 'often', retry: quick, async run({ run, tick, enqueue }) {
      if (run.attempt === 1) throw new Error('not yet');
      if (!tick) await enqueue('child', {});
    } }),
  ];`;

test('one trace goes from a request over its run, which fails once and is retried, to the run which that enqueues', async () => {
  const collector = await startCollector();
  const atTheEnd = { OTEL_BSP_SCHEDULE_DELAY: '600000' };
  const { program, api } = await startService({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, ...atTheEnd });
  const { body } = await api.call('POST', '/v1/jobs/parent/runs', {
    headers: { traceparent },
    json: { payload: { url: api.url, word: 'payload-of-the-caller' } },
  });
  const failed = await program.line(({ event, run }) => event === 'run.failed' && run === body.id);
  const logged = await program.line(
    ({ event, run, attempt }) => event === 'run.logged' && run === body.id && attempt === 2,
  );
  await program.line(({ event, job }) => event === 'run.succeeded' && job === 'child');
  const answered = program.lines.find(
    ({ event, path }) => event === 'http.answered' && path === '/v1/jobs/parent/runs',
  );
  expect(collector.requests, 'which are to be sent when the process stops').toHaveLength(0);
  program.kill('SIGTERM');
  expect(await program.exit).toEqual({ code: 0, signal: null });

  const { spans } = collector;
  expect(spans.filter(({ traceId }) => traceId !== caller.traceId)).toEqual([]);
  const [request, add, first, second, childRequest, childAdd, child] = inOrder(spans);
  expect(spans).toHaveLength(7);
  expect(request).toMatchObject({
    ...{ name: 'POST /v1/jobs/:job/runs', kind: 'server', parentSpanId: caller.spanId, status: { code: 'unset' } },
    attributes: { 'http.request.method': 'POST', 'http.route': '/v1/jobs/:job/runs', 'http.response.status_code': 202 },
  });
  expect(request?.resource).toMatchObject({ 'service.name': 'tests', 'service.version': '7' });
  expect(add).toMatchObject({ kind: 'producer', parentSpanId: request?.spanId });
  const facts = { 'rondo.job': 'parent', 'rondo.run': body.id, 'rondo.max_attempts': 2 };
  expect(first).toMatchObject({
    ...{
      kind: 'consumer',
      parentSpanId: add?.spanId,
      status: { code: 'error', message: 'not yet' },
      events: ['exception'],
    },
    attributes: {
      ...facts,
      'rondo.attempt': 1,
      'rondo.outcome': 'failed',
      'rondo.retry_in_ms': 1,
      'error.type': 'Error',
    },
  });
  expect(second).toMatchObject({
    ...{ kind: 'consumer', parentSpanId: add?.spanId, status: { code: 'unset' } },
    attributes: { ...facts, 'rondo.attempt': 2, 'rondo.outcome': 'succeeded' },
  });
  expect(childRequest).toMatchObject({ kind: 'server', parentSpanId: second?.spanId });
  expect(childAdd).toMatchObject({ kind: 'producer', parentSpanId: childRequest?.spanId });
  expect(child).toMatchObject({ kind: 'consumer', parentSpanId: childAdd?.spanId });

  expect(failed).toMatchObject({ trace_id: caller.traceId, span_id: first?.spanId });
  expect(logged).toMatchObject({ trace_id: caller.traceId, span_id: second?.spanId });
  expect(answered).toMatchObject({ trace_id: caller.traceId, span_id: request?.spanId });
  const seen = program.lines.find(({ msg }) => msg === 'seen');
  expect(seen).toMatchObject({ traceparent: `00-${caller.traceId}-${child?.spanId}-01` });
  expect(collector.text()).not.toMatch(/payload-of-the-caller|secret-of-/);
});

test('runs keep the trace of whoever asked for them, and each tick is one of its own, though its schedule was put in a trace', async () => {
  const collector = await startCollector();
  const { api, env } = await startService({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, ...atOnce });
  const ask = (method: string, path: string, json: object, headers = {}) =>
    api.call(method, path, { headers: { traceparent, ...headers }, json }).then(({ body }) => body);
  const spanOf = (job: string, id: string) =>
    collector.span(({ attributes }) => attributes['rondo.job'] === job && attributes['rondo.run'] === id);

  await ask('PUT', '/v1/schedules/each-second', { job: 'often', cron: '* * * * * *' });
  const { runs } = await ask('POST', '/v1/jobs/child/runs/bulk', { runs: [{}, {}] });
  const keyed = await ask('POST', '/v1/jobs/child/runs', {}, { 'idempotency-key': 'a-key-of-the-caller' });
  const deduplicated = await ask('POST', '/v1/jobs/child/runs', { deduplicate: { key: 'once' } });
  const triggered = await ask('POST', '/v1/schedules/each-second/trigger', {});
  for (const { id, job = 'child' } of [...runs, keyed, deduplicated, triggered]) {
    expect(await spanOf(job, String(id)), id).toMatchObject({ kind: 'consumer', traceId: caller.traceId });
  }

  const byHandler = await collector.span(({ attributes, parentSpanId }) => {
    const isAdd = (span: CollectedSpan) => span.spanId === parentSpanId && span.kind === 'producer';
    const add = attributes['rondo.job'] === 'child' && collector.spans.find(isAdd);
    const from = add ? collector.spans.find(({ spanId }) => spanId === add.parentSpanId) : undefined;
    return from?.attributes['rondo.run'] === triggered.id && from?.attributes['rondo.attempt'] === 2;
  });
  expect(byHandler.traceId).toBe(caller.traceId);

  const headers = { authorization: `Bearer ${secretOf('admin')}` };
  const call = { url: `${api.url}/v1/jobs/child/runs`, method: 'POST', headers };
  const { id } = await ask('POST', '/v1/jobs/http-request/runs', { payload: call });
  const called = await spanOf('http-request', id);
  await collector.span(({ kind, parentSpanId }) => kind === 'server' && parentSpanId === called.spanId);

  const command = await runProgram(['jobs', 'enqueue', 'child', '--json'], { env });
  expect(command).toMatchObject({ code: 0, stderr: '' });
  const { traceId } = await spanOf('child', JSON.parse(command.stdout).id);
  const root = await collector.span(({ name }) => name === 'rondo jobs enqueue');
  expect(root).toMatchObject({ traceId, parentSpanId: '' });

  const ticks = await eventually(() => {
    const attempts = collector.spans.filter(({ attributes }) => attributes['rondo.tick'] !== undefined);
    const retried = attempts.filter(({ attributes }) => attributes['rondo.attempt'] === 2);
    return retried.length >= 2 && retried.map((second) => attempts.filter((it) => runOf(it) === runOf(second)));
  });
  for (const attempts of ticks) {
    const own = { traceId: attempts[0]?.traceId, parentSpanId: '' };
    const of = (attempt: number) => ({ 'rondo.schedule': 'each-second', 'rondo.attempt': attempt });
    expect(attempts).toMatchObject([1, 2].map((attempt) => ({ ...own, attributes: of(attempt) })));
  }
  const traces = new Set([caller.traceId, traceId, ...ticks.map(([first]) => first?.traceId)]);
  expect(traces.size).toBe(2 + ticks.length);
  const others = collector.spans.filter((span) => span.traceId !== caller.traceId && span.traceId !== traceId);
  expect(new Set(others.map(({ kind }) => kind)), 'what is traced that nobody asked for').toEqual(
    new Set(['consumer']),
  );
});

test('a collector that takes nothing costs one line of the log, that it is back another, and the end of the process no time', async () => {
  const collector = await startCollector(400);
  const { program, run } = await startWorker({
    ...{ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, SHUTDOWN_GRACE: '0', ...atOnce },
  });
  for (let refused = 1; refused <= 3; refused++) {
    await run();
    await eventually(() => collector.requests.length >= refused);
  }
  const away = await program.line(({ event }) => event === 'collector.away');
  collector.answers.status = 200;
  await run();
  const back = await program.line(({ event }) => event === 'collector.back');
  expect(away).toMatchObject({ level: 40, address: `${collector.url}/v1/traces`, reason: '400 Bad Request' });
  expect(back).toMatchObject({ level: 30, lost: 3 });
  expect(program.lines.filter(({ event }) => event?.startsWith('collector.'))).toHaveLength(2);

  collector.answers.status = null;
  await run();
  await eventually(() => collector.requests.length >= 5);
  const toldAt = Date.now();
  program.kill('SIGTERM');
  expect(await program.exit).toEqual({ code: 0, signal: null });
  expect(Date.now() - toldAt, 'the collector has 10 s to answer').toBeLessThan(8_000);
});

test('nothing of OpenTelemetry is loaded where no collector is set, and nothing is told of traces', async () => {
  const file = join(freshFolder(), 'loaded');
  const { run } = await startWorker(tellsWhatItLoads(/^(@opentelemetry|bullmq)/, file));
  const line = await run();

  expect(new Set(readFileSync(file, 'utf8').trim().split('\n'))).toEqual(new Set(['bullmq']));
  expect(line.traceparent).toBeNull();
  expect(line).not.toHaveProperty('trace_id');
});

const runOf = ({ attributes }: CollectedSpan) => attributes['rondo.run'];

/** All roles in a process of their own. */
async function startService(more: Record<string, string>) {
  const env = {
    ...{ RONDO_JOBS: writeJobs(source), RONDO_PREFIX: freshPrefix(), RONDO_APP: 'tests', RONDO_RELEASE: '7' },
    ...{ RONDO_API_KEYS: `admin:${secretOf('admin')}:admin`, ...more },
  };
  const program = startProgram(['start'], { env });
  const line = await program.line(({ msg }) => msg?.startsWith('the board is at') ?? false);
  const api: Api = callsTo(/http:\/\/[^/]+/.exec(line.msg ?? '')?.[0] ?? '');
  await program.line(({ msg }) => /started, with Redis at/.test(msg ?? ''));
  return { program, api, env };
}

/** A worker, and a way to give it a run; resolves to what the run has logged. */
async function startWorker(env: Record<string, string>) {
  const child = defineJob({ name: 'child', run: () => {} });
  const { broker, prefix } = await fixture([child]);
  const program = startProgram(['worker'], { env: { RONDO_JOBS: writeJobs(source), RONDO_PREFIX: prefix, ...env } });
  await program.line(({ msg }) => msg?.startsWith('worker started') ?? false);
  return {
    program,
    async run(): Promise<Line> {
      const id = await enqueue(broker, child, {});
      await program.line(({ event, run }) => event === 'run.succeeded' && run === id);
      return program.line(({ event, run }) => event === 'run.logged' && run === id);
    },
  };
}

/** A trace from its first span down, each followed by what it led to; those beside each other by their attempt. */
function inOrder(spans: readonly CollectedSpan[], parent = caller.spanId): CollectedSpan[] {
  return spans
    .filter(({ parentSpanId }) => parentSpanId === parent)
    .sort((a, b) => Number(a.attributes['rondo.attempt']) - Number(b.attributes['rondo.attempt']))
    .flatMap((span) => [span, ...inOrder(spans, span.spanId)]);
}
