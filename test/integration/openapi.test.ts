import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createApp } from '../../src/http/app.js';
import { createLive } from '../../src/http/site/live.js';
import { defineCalendar } from '../../src/jobs/calendar.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { payloadSchemaOf } from '../../src/jobs/describe.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { createRunWatch } from '../../src/producers/run-watch.js';
import { eventually, fixture } from '../support/harness.js';
import { type Answer, type Api, apiKey, type Call, expectProblem } from '../support/http.js';
import { type Described, danglingRefs, fieldsOf, type Json, operationsOf, routesOf } from '../support/openapi.js';

const node = z.object({
  text: z.string(),
  get children() {
    return z.array(node).optional();
  },
});

const sendEmail = defineJob({
  name: 'send-email',
  description: 'Sends an email',
  payload: z.object({ to: z.email(), lines: z.array(z.string()).default([]) }),
  schedules: [
    {
      id: 'newsletter',
      cron: '0 7 * * *',
      timezone: 'Europe/Paris',
      payload: { to: 'all@example.com' },
      exclude: [defineCalendar({ name: 'feasts', yearly: ['12-25'] })],
    },
  ],
  rateLimit: { max: 10, per: '1s' },
  run: () => {
    throw new Error('no such mailbox');
  },
});
const tree = defineJob({
  name: 'tree',
  description: 'Its payload refers to itself',
  payload: z.object({
    root: node,
    other: node.optional(),
    when: z.date().optional(),
  }),
  run: () => null,
});
const anything = defineJob({ name: 'anything', payload: z.unknown(), run: ({ payload }) => payload });
const resting = defineJob({ name: 'resting', enabled: false, run: () => null });
const jobs = [sendEmail, tree, anything, resting];

async function serveDocument() {
  const parts = await fixture(jobs);
  const api = await parts.serve();
  const { body: document } = await api.call('GET', '/openapi.json', { key: 'read' });
  return { ...parts, api, document: document as Json, operations: operationsOf(document) };
}

describe('GET /openapi.json', () => {
  it('is valid by a validator that is not ours, and all its references lead somewhere', async () => {
    const { document } = await serveDocument();

    expect(await new Validator().validate(structuredClone(document))).toEqual({ valid: true });
    expect(document.openapi).toBe('3.1.1');
    expect(danglingRefs(document)).toEqual([]);
  });

  it('tells every route of the API, and no other', async () => {
    const { broker, events, document } = await serveDocument();
    const app = createApp({
      deployment: { app: 'test', release: '1' },
      ...{ broker, registry: createRegistry(jobs), keys: () => [], sessionSecret: () => '', emit: events.emit },
      settings: { rateLimit: { max: 1, perMs: 60_000 }, trustProxy: false, corsOrigins: ['https://app.example.com'] },
      now: Date.now,
      watch: createRunWatch(broker),
      live: createLive(),
      metrics: async () => ({ contentType: 'text/plain', text: '' }),
      warnings: [],
    });
    const pages = /^\w+ (\/|\/login|\/logout|\/docs\/.*|\/\^.*|\/(board|schedules|day|workers|assets)\b.*)$/;

    const served = routesOf(app).filter((route) => !pages.test(route));

    const told = operationsOf(document).map(({ name }) => name);
    const ofJobs = jobs.map(({ name }) => `/v1/jobs/${name}/`);
    expect(served.length).toBeGreaterThan(20);
    expect(told.filter((name) => !ofJobs.some((path) => name.includes(path))).sort()).toEqual(served.sort());
  });

  it("has a path for each job with that job's payload, and lets a schedule have its job's payload alone", async () => {
    const { document } = await serveDocument();

    for (const job of jobs) {
      const name = `Payload.${job.name}`;
      const { schema } = document.paths[`/v1/jobs/${job.name}/runs`].post.requestBody.content['application/json'];
      expect(schema.allOf[1].properties.payload).toEqual({ $ref: `#/components/schemas/${name}` });
      const { $schema: _, ...payload } = payloadSchemaOf(job);
      const text = JSON.stringify(document.components.schemas[name]).replaceAll(`#/components/schemas/${name}`, '#');
      expect(JSON.parse(text)).toEqual(payload);
    }
    const [, { oneOf }] = document.components.schemas.PutScheduleBody.allOf;
    expect(oneOf.map((it: Json) => [it.properties.job.const, it.properties.payload.$ref, it.required])).toEqual([
      ['send-email', '#/components/schemas/Payload.send-email', ['job', 'payload']],
      ['tree', '#/components/schemas/Payload.tree', ['job', 'payload']],
      ['anything', '#/components/schemas/Payload.anything', ['job']],
      ['resting', '#/components/schemas/Payload.resting', ['job']],
    ]);
  });

  it('tells a key that is for some jobs of these alone', async () => {
    const { serve } = await fixture(jobs);
    const api = await serve({ keys: [{ ...apiKey('mailer', ['read']), jobs: ['send-*'] }, apiKey('all', ['read'])] });

    const { body: own } = await api.call('GET', '/openapi.json', { key: 'mailer' });
    const { body: whole } = await api.call('GET', '/openapi.json', { key: 'all' });

    const payloads = ({ components }: Json) => Object.keys(components.schemas).filter((name) => /^Payload/.test(name));
    expect(payloads(own)).toEqual(['Payload.send-email']);
    expect(JSON.stringify(own)).not.toMatch(/resting|anything/);
    expect(payloads(whole)).toHaveLength(jobs.length);
  });

  it('wants a key that may list jobs, as the page that shows it does', async () => {
    const { api } = await serveDocument();
    for (const path of ['/openapi.json', '/docs/', '/docs/swagger-ui-init.js']) {
      expectProblem(await api.call('GET', path, { key: null }), 401, 'unauthenticated');
      expectProblem(await api.call('GET', path, { key: 'enqueue' }), 403, 'forbidden');
      expect((await api.call('GET', path, { key: 'read' })).status).toBe(200);
    }
    const { status, headers } = await api.call('GET', '/docs', { key: 'read' });
    expect([status, headers.get('location')]).toEqual([303, '/docs/']);
    for (const path of ['/docs/package.json', '/docs/index.html', '/docs/..%2findex.html']) {
      expectProblem(await api.call('GET', path, { key: 'read' }), 404, 'route-unknown');
    }
  });
});

describe('the API, called as its document tells', { timeout: 120_000 }, () => {
  it('answers each good call with each status that is told for it, and as is told', async () => {
    const { api, broker, operations, ...parts } = await serveDocument();
    await parts.produce();
    await parts.work({ jobs: [sendEmail] });
    const seen = new Map<string, Set<number>>();
    for await (const { id, path, ...call } of goodCalls(api)) {
      const operation = operations.find((it) => it.id === id) as Described;
      const address = path ?? operation.path;
      const answer = await api.call(operation.method, address, call);
      const isGood = answer.status < 300 && faultOf(operation, answer) === null;
      expect(isGood, `${id}: ${faultOf(operation, answer)} ${JSON.stringify(answer)}`).toBe(true);
      seen.set(id, (seen.get(id) ?? new Set()).add(answer.status));
    }
    const expected = operations
      .filter(({ id }) => !id.endsWith('.resting'))
      .map(({ id, statuses }) => [id, statuses.filter((status) => status < 300)]);
    expect(Object.fromEntries([...seen].map(([id, statuses]) => [id, [...statuses].sort()]))).toEqual(
      Object.fromEntries(expected),
    );
  });

  it('lets in who has the scope that is told, and nobody else', async () => {
    const { api, operations } = await serveDocument();
    const brings: Record<string, readonly string[]> = {
      read: ['read', 'operate', 'admin'],
      enqueue: ['enqueue', 'admin'],
      operate: ['operate', 'admin'],
      admin: ['admin'],
    };
    for (const operation of operations) {
      const { id, method, path, keyed, scope } = operation;
      const address = path.replaceAll(/\{\w+\}/g, 'unknown');
      const ask = async (call: Call) => {
        const answer = await api.call(method, address, call);
        return { ...{ id, call }, status: answer.status, fault: faultOf(operation, answer) };
      };
      for (const key of ['read', 'enqueue', 'operate', 'admin']) {
        const { status, ...rest } = await ask({ key });
        const isIn = !keyed || brings[String(scope)]?.includes(key);
        expect({ ...rest, refused: status === 403 }).toMatchObject({ refused: !isIn, fault: null });
      }
      expect(await ask({ key: null })).toMatchObject(keyed ? { status: 401, fault: null } : { fault: null });
      if (!keyed || method !== 'GET') continue;
      expect(await ask({ key: null, headers: { accept: 'text/html' } })).toMatchObject({ status: 303, fault: null });
    }
  });

  it('tells what a key is refused with that asks too often', async () => {
    const { serve, operations } = await serveDocument();
    const limited = await serve({ rateLimit: { max: 1, perMs: 60_000 } });
    const operation = operations.find(({ id }) => id === 'listRuns') as Described;

    const answers = [1, 2].map(() => limited.call('GET', '/v1/jobs/anything/runs'));

    const found = (await Promise.all(answers)).map((answer) => [answer.status, faultOf(operation, answer)]);
    expect(found.sort()).toEqual([
      [200, null],
      [429, null],
    ]);
  });

  it('answers whatever comes with a status that is told, and as is told', async () => {
    const { api, document, events, operations, work } = await serveDocument();
    const put = await api.call('PUT', '/v1/schedules/put', { json: { job: 'anything', every: '1d' } });
    const run = await api.call('POST', '/v1/jobs/anything/runs');
    expect([put.status, run.status]).toEqual([201, 202]);
    // One that has ended: who follows it is answered at once.
    const pool = await work({ jobs: [anything] });
    await events.next('run.succeeded', (event) => event.run === run.body.id);
    await pool.stop(Date.now());

    // The paths of the other jobs are the same route once more.
    const tried = operations.filter(({ id }) => !/\.(tree|anything|resting)$/.test(id));
    const calls = tried.flatMap((operation) =>
      hostileCalls(document, operation, run.body.id).map((call) => ({ operation, ...call })),
    );
    const faults: string[] = [];
    for (const batch of chunksOf(calls, 16)) {
      const asked = batch.map(async ({ operation, what, path, ...call }) => {
        const answer = await api.call(operation.method, path, call);
        const fault = answer.status === 500 ? 'broken' : faultOf(operation, answer);
        if (fault !== null) faults.push(`${operation.id} ${what}: ${answer.status} ${fault}`);
      });
      await Promise.all(asked);
    }
    expect(faults).toEqual([]);
    expect(calls.length).toBeGreaterThan(1_000);
    expect(events.all.filter(({ type }) => type === 'http.failed')).toEqual([]);
    expect(Object.keys(Object.prototype)).toEqual([]);
    expect((await api.call('GET', '/readyz')).status).toBe(200);
  });
});

function faultOf(operation: Described, { status, headers, body }: Answer): string | null {
  return operation.faultOf(status, headers.get('content-type') ?? '', body);
}

function chunksOf<Item>(items: readonly Item[], size: number): Item[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size));
}

interface GoodCall extends Call {
  readonly id: string;
  /** Unless it is the operation's own, which has no parameters then. */
  readonly path?: string;
}

/** What calls each operation well, in an order in which each finds what it needs. */
async function* goodCalls(api: Api): AsyncGenerator<GoodCall> {
  const enqueue = async (json: unknown, job = 'anything') =>
    (await api.call('POST', `/v1/jobs/${job}/runs`, { json })).body.id as string;
  const runs = '/v1/jobs/anything/runs';
  const plain = [
    'listJobs',
    'listGoneJobs',
    'listWorkers',
    'getService',
    'examineService',
    'fixService',
    'isAlive',
    'isReady',
    'getOpenApi',
    'getMetrics',
  ];
  for (const id of plain) yield { id };
  yield { id: 'getJob', path: '/v1/jobs/tree' };

  yield { id: 'enqueueRun', path: runs, json: { payload: [1], delay: '1h', priority: 3, attempts: 2 } };
  for (const { name } of jobs) {
    if (name in goodPayloads) yield { id: `enqueueRun.${name}`, json: { payload: goodPayloads[name] } };
  }
  const headers = { 'Idempotency-Key': 'once' };
  for (const _ of [1, 2])
    yield { id: 'enqueueRun', path: runs, headers, json: { deduplicate: { key: 'a' }, delay: '1h' } };
  yield { id: 'enqueueRun', path: runs, json: { deduplicate: { key: 'a', ttl: '1h' }, delay: '1h' } };
  const bulk = [
    { payload: { to: 'a@example.com' }, delay: '1h' },
    { payload: goodPayloads.tree, delay: '1h' },
  ];
  yield { id: 'enqueueRuns', path: `${runs}/bulk`, json: { runs: bulk } };
  yield { id: 'enqueueRuns.anything', json: { runs: bulk.map((it) => ({ ...it, deduplicate: { key: 'b' } })) } };
  yield { id: 'enqueueRuns.send-email', json: { runs: bulk.slice(0, 1) } };
  yield { id: 'enqueueRuns.tree', json: { runs: bulk.slice(1) } };
  for (const query of ['?state=delayed&limit=1', '?code=run-interrupted&schedule=none', '']) {
    yield { id: 'listRuns', path: runs + query };
  }
  yield { id: 'pauseJob', path: '/v1/jobs/tree/pause', json: { note: 'stocktaking' } };
  for (const id of ['listJobs', 'getJob']) yield { id, path: id === 'getJob' ? '/v1/jobs/tree' : '/v1/jobs' };
  yield { id: 'resumeJob', path: '/v1/jobs/tree/resume' };
  yield { id: 'getRun', path: `${runs}/${await enqueue({ payload: { a: 1 }, delay: 3_600_000 })}` };
  yield { id: 'cancelRun', path: `${runs}/${await enqueue({ delay: '1h' })}/cancel` };
  const failing = await enqueue({ payload: { to: 'a@example.com' }, attempts: 1 }, 'send-email');
  const failed = `/v1/jobs/send-email/runs/${failing}`;
  await eventually(async () => (await api.call('GET', failed)).body.state === 'failed');
  yield { id: 'getRun', path: `${failed}?wait=20s` };
  yield { id: 'followRun', path: `${failed}/events` };
  yield { id: 'followRun', path: `${failed}/events`, headers: { 'Last-Event-ID': '0.end' } };
  yield { id: 'retryRun', path: `${failed}/retry` };
  yield { id: 'redriveJob', path: '/v1/jobs/send-email/redrive', json: { limit: 5 } };

  const one = '/v1/schedules/digest';
  const json = {
    job: 'anything',
    cron: '0 7 * * *',
    timezone: 'Europe/Paris',
    spread: '5m',
    exclude: ['feasts', { dates: ['2036-01-02'], weekly: [{ days: ['sun'], from: '02:00', to: '03:00' }] }],
    onExcluded: 'next-working-day',
    startsAt: '2020-01-01T00:00:00Z',
    payload: { a: [null] },
  };
  yield { id: 'putSchedule', path: one, json };
  yield { id: 'putSchedule', path: one, json };
  await eventually(async () => (await api.call('GET', '/v1/schedules/newsletter')).status === 200);
  for (const id of ['planSchedules', 'applySchedules']) yield { id };
  yield { id: 'listSchedules', path: '/v1/schedules?limit=1' };
  yield { id: 'listSchedules', path: '/v1/schedules?owner=api&text=dig' };
  yield { id: 'pauseSchedule', path: `${one}/pause`, json: { note: 'stocktaking', until: '2h' } };
  for (const path of [one, '/v1/schedules/newsletter']) yield { id: 'getSchedule', path };
  yield { id: 'resumeSchedule', path: `${one}/resume` };
  yield { id: 'triggerSchedule', path: `${one}/trigger` };
  yield { id: 'previewSchedule', path: `${one}/preview?count=400` };
  const past = { from: '2026-01-01T00:00:00Z', to: '2026-01-03T00:00:00Z' };
  const backfill = `${one}/backfill`;
  yield { id: 'backfillSchedule', path: backfill, json: { ...past, dryRun: true } };
  yield { id: 'backfillSchedule', path: backfill, json: past };
  yield { id: 'listBackfills', path: backfill };
  yield { id: 'cancelBackfills', path: backfill };
  // With a worker, and so soon without a tick that has no run.
  const worked = '/v1/schedules/newsletter/backfill';
  yield { id: 'backfillSchedule', path: worked, json: past };
  await eventually(async () => (await api.call('POST', worked, { json: { ...past, dryRun: true } })).body.count === 0);
  yield { id: 'backfillSchedule', path: worked, json: past };
  yield { id: 'listTicks', path: `${one}/ticks?limit=100&outcome=missed,succeeded` };
  yield { id: 'listTicks', path: `${one}/ticks` };
  yield { id: 'removeSchedule', path: one };
  await api.call('GET', '/v1/jobs', { key: null, headers: { authorization: 'Bearer no-key-of-this-server' } });
  yield { id: 'listChanges', path: '/v1/audit?limit=3' };
  yield { id: 'listChanges', path: '/v1/audit' };
  yield { id: 'listTicks', path: `${one}/ticks` };
}

const goodPayloads: Record<string, unknown> = {
  'send-email': { to: 'a@example.com', lines: ['hello'] },
  tree: { root: { text: 'a', children: [{ text: 'b' }] } },
  anything: null,
};

interface HostileCall extends Call {
  readonly what: string;
  readonly path: string;
}

/** What calls an operation badly: its path, each of its parameters, its body, and each field of that. */
function hostileCalls(document: Json, { method, path, query, body }: Described, run: string): HostileCall[] {
  const known = path.replace('{job}', 'anything').replace('{id}', path.includes('/runs/') ? run : 'put');
  const names = query.length > 0 ? [...query, 'constructor', 'x'.repeat(500)] : ['__proto__'];
  const queries = names.flatMap((name) => badQueries.map((value) => `?${name}${value}`));
  return [
    ...badPaths(path).map((address) => ({ what: address.slice(0, 60), path: address, ...(body && { json: {} }) })),
    ...queries.map((text) => ({ what: text.slice(0, 40), path: known + text })),
    ...badHeaders.map((headers) => ({ what: JSON.stringify(headers).slice(0, 40), path: known, headers })),
    ...(method === 'GET' ? [] : badBodies.map((call) => ({ ...call, path: known }))),
    ...(path.endsWith('/bulk') ? [{ what: '10 MiB and more', path: known, ...ofBytes(10_600_000) }] : []),
    ...(body ? badFields(fieldsOf(document, body)).map((call) => ({ ...call, path: known })) : []),
  ];
}

function badPaths(path: string): string[] {
  const parameters = path.match(/\{\w+\}/g) ?? [];
  const addresses = parameters.flatMap((parameter) => badNames.map((name) => path.replace(parameter, name)));
  return addresses.map((address) => address.replace('{job}', 'anything').replace('{id}', 'put'));
}

/** Each field in turn is what it cannot be, the others are sound. */
function badFields(fields: readonly string[]) {
  const sound = { job: 'anything', every: '1d', from: '2026-01-01T00:00:00Z', to: '2026-01-02T00:00:00Z' };
  const others = Object.fromEntries(Object.entries(sound).filter(([name]) => fields.includes(name)));
  return [...fields, 'strange'].flatMap((field) =>
    badValues.map((value) => ({
      what: `${field}: ${JSON.stringify(value).slice(0, 30)}`,
      json: { ...others, [field]: value },
    })),
  );
}

const badNames = [
  ...[
    '__proto__',
    'constructor',
    'toString',
    'unknown',
    '%ff',
    '%00',
    '%0a',
    '..%2f..%2fetc',
    '*',
    'meta',
    '%F0%9F%92%A9',
  ],
  ...['x'.repeat(3_000), 'x'.repeat(20_000), '-1', '0:1', '%7B%7D', '%20'],
];
const badQueries = [
  '',
  '=',
  '=-1',
  '=1e999',
  '=NaN',
  '=%ff',
  '=%00',
  '=a&',
  '[]=1',
  '[__proto__][x]=1',
  `=${'9'.repeat(5_000)}`,
];
const deep = (open: string, close: string, levels: number) => open.repeat(levels) + close.repeat(levels);
const json = 'application/json';
const badTexts: readonly (readonly [string, string | Uint8Array<ArrayBuffer>])[] = [
  ...['', ' ', 'null', '[]', '"text"', '1', 'true', '{', '{"payload":', '{}{}', '\u0000', "{'a':1}"].map(
    (text) => [`the body ${text}`, text] as const,
  ),
  ['broken UTF-8', new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d])],
  ['broken UTF-8 in a payload', new Uint8Array([...Buffer.from('{"payload":"'), 0xc3, 0x28, ...Buffer.from('"}')])],
  ['half of a surrogate pair', '{"payload":"\\ud800","job":"\\udfff"}'],
  ['deep lists', `{"payload":${deep('[', ']', 10_000)}}`],
  ['deep objects', deep('{"a":', '}', 50_000).replace('}', '1}')],
  ['__proto__', '{"__proto__":{"payload":1},"payload":{"__proto__":{"a":1}}}'],
  ['__proto__ as a schedule', '{"job":"anything","every":"1d","__proto__":{"cron":"* * * * *"}}'],
  ['a constructor', '{"constructor":{"prototype":{"a":1}}}'],
  ['the same key twice', '{"payload":1,"payload":2}'],
  ['a large number', '{"payload":1e400,"limit":1e400}'],
];
const badTypes = ['text/xml', 'text/plain', 'application/jsonp', 'multipart/form-data', `${json}; charset=ebcdic`, 'x'];
const ofBytes = (bytes: number) => ({ headers: { 'content-type': json }, body: `{"payload":"${'x'.repeat(bytes)}"}` });
const badHeaders = ['x'.repeat(300), 'x'.repeat(20_000), 'two words', '\u00e9'].flatMap((value) =>
  ['Idempotency-Key', 'Last-Event-ID', 'Origin', 'Cookie'].map((name) => ({ [name]: value })),
);
const badBodies: readonly (Call & { readonly what: string })[] = [
  { what: '1 MiB and more', ...ofBytes(1_100_000) },
  ...badTexts.map(([what, body]) => ({ what, headers: { 'content-type': json }, body })),
  ...badTypes.map((type) => ({ what: type, headers: { 'content-type': type }, body: '{}' })),
  ...['gzip', 'br', 'zip'].map((encoding) => ({
    what: `said to be ${encoding}`,
    headers: { 'content-type': json, 'content-encoding': encoding },
    body: 'not at all',
  })),
];
const badValues: readonly unknown[] = [
  ...[null, true, -1, 0, 1.5, 1e308, '', 'x', '\u0000', '💩', [], {}, [[]], [null], { a: 1 }, { length: -1 }],
  ...['x'.repeat(100_000), Array(2_000).fill('x'), JSON.parse('{"__proto__":{"a":1}}'), { toString: 1, toJSON: 2 }],
];
