import type { RequestListener } from 'node:http';
import { networkInterfaces } from 'node:os';
import { pipeline } from 'node:stream/promises';
import { describe, expect, it } from 'vitest';
import { type HttpRequestSettings, httpRequest } from '../../src/jobs/catalog/http-request.js';
import { createRegistry } from '../../src/jobs/registry.js';
import type { RunView } from '../../src/producers/run-view.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { createGate } from '../support/gate.js';
import { fixture } from '../support/harness.js';
import { callsTo, startTarget } from '../support/http.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { startProgram } from '../support/processes.js';

type Payload = Record<string, unknown>;

const loopback = { allow: ['127.0.0.1', '::1'] } satisfies HttpRequestSettings;
const respond =
  (status: number, headers: Record<string, string> = {}, body = ''): RequestListener =>
  (_request, response) =>
    void response.writeHead(status, headers).end(body);

/** Ends a run of the job in a worker: with what it came to after its first attempt. */
async function start(settings: HttpRequestSettings = loopback, { timeout = 30_000 } = {}) {
  const job = { ...httpRequest(settings), timeout };
  const { broker, events, work } = await fixture([job]);
  await work();
  const add = (payload: Payload, attempts?: number) => enqueue(broker, job, payload, attempts ? { attempts } : {});
  return {
    add,
    events,
    async succeed(payload: Payload) {
      const id = await add(payload, 1);
      await events.next('run.succeeded', ({ run }) => run === id);
      return ((await findRun(broker, job, id)) as RunView).result as Record<string, unknown>;
    },
    /** The failure of the first of two attempts: `retryInMs` is null where it failed for good. */
    async fail(payload: Payload, waitMs?: number) {
      const id = await add(payload, 2);
      return events.next('run.failed', ({ run }) => run === id, waitMs);
    },
  };
}

describe('http-request', () => {
  it.each(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'])('calls with the method %s', async (method) => {
    const target = await startTarget(respond(200));
    const { succeed } = await start();
    await succeed({ url: `${target.url}/path?query=1#fragment`, method });
    expect(target.received).toMatchObject([{ method, url: '/path?query=1', headers: { 'user-agent': 'rondo' } }]);
  });

  it('sends headers, and text as it is', async () => {
    const target = await startTarget(respond(200));
    const { succeed } = await start();
    const headers = { 'X-Token': 'abc', 'Content-Type': 'text/csv', 'user-agent': 'ours' };
    await succeed({ url: target.url, method: 'POST', headers, body: 'a;b\nä;ß' });
    expect(target.received).toMatchObject([
      { body: 'a;b\nä;ß', headers: { 'x-token': 'abc', 'content-type': 'text/csv', 'user-agent': 'ours' } },
    ]);
  });

  it.each([{ a: [1, null] }, [], 5, false, null])('sends %j as JSON', async (body) => {
    const target = await startTarget(respond(200));
    const { succeed } = await start();
    await succeed({ url: target.url, method: 'PUT', body });
    const headers = { 'content-type': 'application/json' };
    expect(target.received).toMatchObject([{ body: JSON.stringify(body), headers }]);
  });

  it('has the status, the duration and the body for a result', async () => {
    const target = await startTarget(
      (_request, response) => void setTimeout(() => response.writeHead(201).end('made'), 50),
    );
    const { succeed } = await start();
    const result = await succeed({ url: target.url });
    const url = `${target.url}/`;
    expect(result).toEqual({ status: 201, durationMs: expect.any(Number), url, body: 'made', truncated: false });
    expect(result.durationMs).toBeGreaterThanOrEqual(49);
    expect(result.durationMs).toBeLessThan(10_000);
  });

  it('keeps the first 64 KiB of a body, and says that there was more', async () => {
    const bodies = ['x'.repeat(65_536), 'x'.repeat(65_537), `${'x'.repeat(65_535)}ä`];
    const target = await startTarget(({ url }, response) => void response.end(bodies[Number(url?.slice(1))]));
    const { succeed } = await start();
    expect(await succeed({ url: `${target.url}/0` })).toMatchObject({ body: 'x'.repeat(65_536), truncated: false });
    expect(await succeed({ url: `${target.url}/1` })).toMatchObject({ body: 'x'.repeat(65_536), truncated: true });
    expect(await succeed({ url: `${target.url}/2` })).toMatchObject({ body: 'x'.repeat(65_535), truncated: true });
  });

  it('expects 200 to 299 unless told, and then just what it is told', async () => {
    const target = await startTarget(({ url }, response) => void response.writeHead(Number(url?.slice(1))).end());
    const { succeed, fail } = await start();
    const url = (status: number) => `${target.url}/${status}`;
    expect(await succeed({ url: url(204) })).toMatchObject({ status: 204, body: '' });
    expect(await succeed({ url: url(404), expect: [200, 404] })).toMatchObject({ status: 404 });
    expect(await succeed({ url: url(503), expect: [503] })).toMatchObject({ status: 503 });
    expect(await succeed({ url: url(302), expect: [302] })).toMatchObject({ status: 302 });
    expect(await fail({ url: url(200), expect: [404] })).toMatchObject({ retryInMs: null });
  });

  it.each([
    [{}, 'url'],
    [{ url: 'example.com' }, 'url'],
    [{ url: 'ftp://example.com/' }, 'url'],
    [{ url: 'file:///etc/passwd' }, 'url'],
    [{ url: 'data:text/plain,x' }, 'url'],
    [{ url: 'https://me:secret@example.com/' }, 'url'],
    [{ url: 'https://example.com/', method: 'TRACE' }, 'method'],
    [{ url: 'https://example.com/', headers: { 'a b': 'c' } }, 'headers'],
    [{ url: 'https://example.com/', headers: { a: 'b\r\nc: d' } }, 'headers'],
    [{ url: 'https://example.com/', headers: { a: '\u2028' } }, 'headers'],
    [{ url: 'https://example.com/', expect: [99] }, 'expect'],
    [{ url: 'https://example.com/', expect: [] }, 'expect'],
    [{ url: 'https://example.com/', retries: 5 }, 'retries'],
  ])('refuses %j at once', async (payload, where) => {
    const { add } = await start();
    const refused = await add(payload).catch((error) => error);
    expect(refused).toMatchObject({ code: 'payload-invalid' });
    expect(refused.problems[0].where).toContain(`payload.${where}`);
  });
});

describe('http-request tries again', () => {
  it.each([408, 429, 500, 502, 503, 504, 599])('after %i', async (status) => {
    const target = await startTarget(respond(status));
    const { fail } = await start();
    const { reason, retryInMs } = await fail({ url: target.url });
    expect(reason).toBe(`the server answered ${status}`);
    expect(retryInMs).toBeGreaterThanOrEqual(1_600); // 2 s and their jitter
    expect(retryInMs).toBeLessThanOrEqual(2_400);
  });

  it('after a network error', async () => {
    const target = await startTarget((request) => void request.socket.destroy());
    const { fail } = await start();
    expect((await fail({ url: target.url })).retryInMs).toBeGreaterThan(0);
    target.server.close();
    target.server.closeAllConnections();
    const refused = await fail({ url: target.url });
    expect(refused.retryInMs).toBeGreaterThan(0);
    expect(refused.reason).toContain('ECONNREFUSED');
  });

  it('after a name that is not known, and one that cannot be looked up now', async () => {
    const unknown = Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' });
    const { fail } = await start({ resolve: (_name, _options, answer) => answer(unknown, []) });
    expect(await fail({ url: 'http://nowhere.example/' })).toMatchObject({
      reason: expect.stringContaining('ENOTFOUND'),
      retryInMs: expect.any(Number),
    });
  });

  it('after an answer that breaks off', async () => {
    const target = await startTarget((request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('half of it', () => request.socket.destroy());
    });
    const { fail } = await start();
    expect((await fail({ url: target.url })).retryInMs).toBeGreaterThan(0);
  });

  it.each([429, 503])('when Retry-After says so, after %i', async (status) => {
    const at = (ms: number) => new Date(Date.now() + ms).toUTCString();
    const target = await startTarget(({ url }, response) => {
      response.writeHead(status, { 'retry-after': decodeURIComponent(String(url?.slice(1))) }).end();
    });
    const { fail } = await start();
    const delayFor = async (retryAfter: string) =>
      Number((await fail({ url: `${target.url}/${encodeURIComponent(retryAfter)}` })).retryInMs);

    expect(await delayFor('7')).toBe(7_000);
    expect(await delayFor('172800'), 'at most a day').toBe(86_400_000);
    const untilDate = await delayFor(at(60_000));
    expect(untilDate).toBeGreaterThan(50_000);
    expect(untilDate).toBeLessThanOrEqual(60_000);
    for (const meaningless of ['0', at(-60_000), '-1', '1.5', 'soon', '5 minutes', '', '9'.repeat(400)]) {
      const delay = await delayFor(meaningless);
      const own = delay >= 1_600 && delay <= 2_400;
      expect(`${meaningless.slice(0, 9)} ${own || delay === 86_400_000}`).toBe(`${meaningless.slice(0, 9)} true`);
    }
  });

  it('with its own delay after 500, whatever Retry-After says', async () => {
    const target = await startTarget(respond(500, { 'retry-after': '60' }));
    const { fail } = await start();
    expect((await fail({ url: target.url })).retryInMs).toBeLessThanOrEqual(2_400);
  });

  it('and succeeds then', async () => {
    let calls = 0;
    const target = await startTarget((_request, response) => {
      calls++;
      response.writeHead(calls === 1 ? 429 : 200, { 'retry-after': '1' }).end();
    });
    const { add, events } = await start();
    const id = await add({ url: target.url });
    expect(await events.next('run.succeeded', ({ run }) => run === id)).toMatchObject({ attempt: 2 });
  });
});

describe('http-request fails for good', () => {
  it.each([300, 304, 400, 401, 403, 404, 409, 410, 418, 422, 451])('after %i', async (status) => {
    const target = await startTarget(respond(status));
    const { fail } = await start();
    const reason = `the server answered ${status}`;
    expect(await fail({ url: target.url })).toMatchObject({ reason, retryInMs: null });
    expect(target.received).toHaveLength(1);
  });

  it.each([
    [{ 'content-length': '5' }, 'ab'],
    [{ 'transfer-encoding': 'gzip' }, 'ab'],
    [{ expect: '100-continue' }, 'ab'],
  ])('with headers that cannot be sent: %j', async (headers, body) => {
    const target = await startTarget(respond(200));
    const { fail } = await start();
    expect(await fail({ url: target.url, method: 'POST', headers, body })).toMatchObject({ retryInMs: null });
  });
});

describe('http-request on a redirect', () => {
  const hops =
    (location: (url: string) => string | undefined, status = 302): RequestListener =>
    ({ url }, response) => {
      const to = location(String(url));
      if (to === undefined) response.end(`arrived at ${url}`);
      else response.writeHead(status, { location: to }).end('elsewhere');
    };
  const countdown = (url: string) => (url === '/0' ? undefined : `/${Number(url.slice(1)) - 1}`);

  it('follows five, and not six', async () => {
    const target = await startTarget(hops(countdown));
    const { succeed, fail } = await start();
    expect(await succeed({ url: `${target.url}/5` })).toMatchObject({ body: 'arrived at /0', url: `${target.url}/0` });
    expect(await fail({ url: `${target.url}/6` })).toMatchObject({ reason: 'more than 5 redirects', retryInMs: null });
    expect(target.received).toHaveLength(12);
  });

  it.each([
    { status: 301, method: 'POST', becomes: 'GET' },
    { status: 302, method: 'POST', becomes: 'GET' },
    { status: 303, method: 'POST', becomes: 'GET' },
    { status: 303, method: 'PUT', becomes: 'GET' },
    { status: 303, method: 'HEAD', becomes: 'HEAD' },
    { status: 301, method: 'PUT', becomes: 'PUT' },
    { status: 302, method: 'DELETE', becomes: 'DELETE' },
    { status: 307, method: 'POST', becomes: 'POST' },
    { status: 308, method: 'PATCH', becomes: 'PATCH' },
  ])('of $status turns a $method into a $becomes, with its body or without', async ({ status, method, becomes }) => {
    const target = await startTarget(hops((url) => (url === '/' ? '/there' : undefined), status));
    const { succeed } = await start();
    await succeed({ url: target.url, method, ...(method !== 'HEAD' && { body: { a: 1 } }) });
    const [, second] = target.received;
    const kept = becomes === method && method !== 'HEAD';
    expect(second).toMatchObject({ method: becomes, url: '/there', body: kept ? '{"a":1}' : '' });
    expect(second?.headers['content-type']).toBe(kept ? 'application/json' : undefined);
  });

  it('takes secrets along to the same origin, and to no other', async () => {
    const other = await startTarget(respond(200));
    const target = await startTarget(hops((url) => (url === '/' ? '/same' : `${other.url}/other`), 307));
    const { succeed } = await start();
    const secrets = { authorization: 'Bearer x', cookie: 'a=b', 'proxy-authorization': 'Basic x', 'x-api-key': 'k' };
    const headers = { ...secrets, accept: 'text/csv' };
    await succeed({ url: target.url, method: 'POST', headers, body: 'text' });
    expect(target.received.map((it) => it.headers)).toMatchObject([headers, headers]);
    expect(other.received).toMatchObject([{ method: 'POST', body: 'text', headers: { accept: 'text/csv' } }]);
    for (const name of Object.keys(secrets)) expect(other.received[0]?.headers).not.toHaveProperty(name);
  });

  it.each(['http://10.0.0.1/', 'http://169.254.169.254/latest/meta-data', 'http://[fe80::1]/', 'http://0x7f000002/'])(
    'judges where it leads: not to %s',
    async (location) => {
      const target = await startTarget(hops((url) => (url === '/' ? '/on' : location), 307));
      const { fail } = await start();
      const reason = expect.stringContaining('is not a public address');
      expect(await fail({ url: target.url })).toMatchObject({ reason, retryInMs: null });
    },
  );

  it.each(['ftp://127.0.0.1/', 'file:///etc/passwd', 'gopher://127.0.0.1/', 'javascript:0'])(
    'does not go to %s',
    async (to) => {
      const target = await startTarget(hops(() => to));
      const { fail } = await start();
      const reason = expect.stringContaining('only http and https');
      expect(await fail({ url: target.url })).toMatchObject({ reason, retryInMs: null });
    },
  );

  it.each(['http://', 'http://[', '//:0'])('to "%s", which is no address, fails for good', async (to) => {
    const target = await startTarget(hops(() => to));
    const { fail } = await start();
    expect(await fail({ url: target.url })).toMatchObject({ reason: 'the server answered 302', retryInMs: null });
  });

  it('is not held up by the body of the answer that redirects', async () => {
    const target = await startTarget(({ url }, response) => {
      if (url === '/there') response.end('arrived');
      else response.writeHead(302, { location: '/there' }).write('and there is more');
    });
    const { succeed } = await start();
    expect(await succeed({ url: target.url })).toMatchObject({ body: 'arrived' });
  });
});

describe('http-request refuses', () => {
  const strangers = [
    'http://127.0.0.1/',
    'http://127.255.255.254/',
    'http://localhost/',
    'http://LOCALHOST/',
    'http://0.0.0.0/',
    'http://0/',
    'http://127.1/',
    'http://2130706433/',
    'http://0x7f000001/',
    'http://0x7f.0.0.1/',
    'http://0177.0.0.1/',
    'http://017700000001/',
    'http://%31%32%37.0.0.1/',
    'http://１２７.0.0.1/',
    'http://10.1.2.3/',
    'http://172.16.0.1/',
    'http://172.31.255.255/',
    'http://192.168.1.1/',
    'http://169.254.169.254/latest/meta-data/',
    'http://100.64.0.1/',
    'http://192.0.0.1/',
    'http://198.18.0.1/',
    'http://224.0.0.1/',
    'http://240.0.0.1/',
    'http://255.255.255.255/',
    'http://[::]/',
    'http://[::1]/',
    'http://[0:0:0:0:0:0:0:1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:7f00:1]/',
    'http://[::ffff:10.0.0.1]/',
    'http://[::127.0.0.1]/',
    'http://[64:ff9b::7f00:1]/',
    'http://[2002:7f00:1::]/',
    'http://[fc00::1]/',
    'http://[fd12:3456:789a::1]/',
    'http://[fe80::1]/',
    'http://[fec0::1]/',
    'http://[ff02::1]/',
    'https://127.0.0.1/',
  ];

  it('every spelling of an address that is not public, for good, and connects to none', async () => {
    const { fail } = await start({});
    for (const url of strangers) {
      const { reason, retryInMs } = await fail({ url });
      expect({ url, reason, retryInMs }).toEqual({
        url,
        reason: expect.stringContaining('is not a public address, and HTTP_REQUEST_ALLOW does not name it'),
        retryInMs: null,
      });
    }
  });

  it.each([
    ['127.0.0.1', 4],
    ['10.0.0.1', 4],
    ['::1', 6],
    ['fd00::1', 6],
    ['::ffff:127.0.0.1', 6],
  ])('a name that leads to %s', async (address, family) => {
    const { fail } = await start({ resolve: (_name, _options, answer) => answer(null, [{ address, family }]) });
    const failed = await fail({ url: 'http://public.example/' });
    expect(failed.reason).toContain(`public.example (${address}) is not a public address`);
    expect(failed.retryInMs).toBeNull();
  });

  it('a name of which one address among several is not public', async () => {
    const addresses = [
      { address: '93.184.216.34', family: 4 },
      { address: '127.0.0.1', family: 4 },
    ];
    const { fail } = await start({ resolve: (_name, _options, answer) => answer(null, addresses) });
    expect((await fail({ url: 'http://public.example/' })).retryInMs).toBeNull();
  });

  it('the address that a name turns to later: it is judged for each connection, and connected to as judged', async () => {
    const target = await startTarget(respond(200, { connection: 'close' }));
    let asked = 0;
    const { succeed, fail } = await start({
      allow: ['127.0.0.1'],
      // Allowed at first; what it answers to a second question is a server that must not be reached.
      resolve(_name, _options, answer) {
        asked++;
        answer(null, [{ address: asked === 1 ? '127.0.0.1' : '127.0.0.2', family: 4 }]);
      },
    });
    const url = `http://rebinding.example:${target.port}/`;

    await succeed({ url });
    expect(asked, 'one connection asks once').toBe(1);
    expect(target.received).toHaveLength(1);

    const failed = await fail({ url });
    expect(failed.reason).toContain('rebinding.example (127.0.0.2) is not a public address');
    expect(target.received).toHaveLength(1);
  });
});

describe('http-request may call what is allowed', () => {
  it.each([
    [['127.0.0.1'], '127.0.0.1'],
    [['10.0.0.1', '127.0.0.0/8'], '127.0.0.1'],
    [['localhost'], 'localhost'],
    [['LocalHost'], 'localhost'],
    [['::ffff:127.0.0.1'], '127.0.0.1'],
    [['127.0.0.1'], '2130706433'],
  ])('with %j: %s', async (allow, host) => {
    const target = await startTarget(respond(200));
    const { succeed } = await start({ allow });
    await succeed({ url: `http://${host}:${target.port}/` });
    expect(target.received).toHaveLength(1);
  });

  it.skipIf(!hasIPv6()).each([[['::1']], [['::/64']]])('with %j: ::1', async (allow) => {
    const target = await startTarget(respond(200), '::1');
    const { succeed } = await start({ allow });
    await succeed({ url: target.url });
    expect(target.received).toHaveLength(1);
  });

  it.each([[['127.0.0.2']], [['10.0.0.0/8']], [['localhost']], [['::1']], [['127.0.0.1/33']], [['']]])(
    'and not 127.0.0.1 with %j',
    async (allow) => {
      const { fail } = await start({ allow });
      expect((await fail({ url: 'http://127.0.0.1/' })).retryInMs).toBeNull();
    },
  );

  it('a name that is allowed, whatever it leads to, and only under that name', async () => {
    const target = await startTarget(respond(200));
    const resolve: HttpRequestSettings['resolve'] = (_name, _options, answer) =>
      answer(null, [{ address: '127.0.0.1', family: 4 }]);
    const { succeed, fail } = await start({ allow: ['intranet'], resolve });
    await succeed({ url: `http://intranet:${target.port}/` });
    expect((await fail({ url: `http://other:${target.port}/` })).retryInMs).toBeNull();
  });
});

describe('http-request at its timeout', () => {
  it('gives up a server that does not answer, and hangs up', async () => {
    const closed = createGate();
    const target = await startTarget((request) => void request.socket.once('close', closed.open));
    const { fail } = await start(loopback, { timeout: 300 });
    expect(await fail({ url: target.url })).toMatchObject({ code: 'run-timed-out', retryInMs: expect.any(Number) });
    await closed.opened;
  });

  it('gives up a body that trickles for ever', async () => {
    const closed = createGate();
    const target = await startTarget((request, response) => {
      const timer = setInterval(() => response.write('.'), 20);
      request.socket.once('close', () => {
        clearInterval(timer);
        closed.open();
      });
    });
    const { fail } = await start(loopback, { timeout: 500 });
    expect(await fail({ url: target.url })).toMatchObject({ code: 'run-timed-out' });
    await closed.opened;
  });

  it('has long had enough of a body that pours for ever, without filling memory', async () => {
    let sent = 0;
    const chunk = Buffer.alloc(65_536, 'x');
    function* pour() {
      for (;;) {
        sent += chunk.length;
        yield chunk;
      }
    }
    const target = await startTarget((_request, response) => void pipeline(pour, response).catch(() => {}));
    const { succeed } = await start();
    const result = await succeed({ url: target.url });
    expect(result).toMatchObject({ status: 200, truncated: true, body: 'x'.repeat(65_536) });
    expect(result.durationMs).toBeLessThan(10_000);
    expect(sent).toBeLessThan(64 * 2 ** 20);
  });
});

describe('http-request in a process of its own', () => {
  const secret = 'a-secret-of-sixteen-or-more';
  const isEvent = (event: string) => (line: { event?: string }) => line.event === event;

  it('takes an ad-hoc run over HTTP, calls the server, and shows the result', async () => {
    const target = await startTarget(respond(200, { 'content-type': 'text/plain' }, 'thank you'));
    const { prefix } = await fixture([]);
    const env = {
      RONDO_PREFIX: prefix,
      HTTP_REQUEST_ALLOW: '127.0.0.1',
      RONDO_API_KEYS: `shop:${secret}:enqueue|read`,
    };
    const program = startProgram(['start'], { env });
    const { msg } = await program.line((line) => line.msg?.startsWith('the board is at') ?? false, 30_000);
    const api = callsTo(new URL(String(msg).split(' ').at(-1) ?? '').origin);
    const headers = { authorization: `Bearer ${secret}` };

    const payload = { url: `${target.url}/hook`, method: 'POST', body: { order: 7 } };
    const { status, body } = await api.call('POST', '/v1/jobs/http-request/runs', {
      key: null,
      headers,
      json: { payload },
    });
    expect(status).toBe(202);
    await program.line((line) => line.event === 'run.succeeded' && line.run === body.id, 30_000);

    expect(target.received).toMatchObject([{ method: 'POST', url: '/hook', body: '{"order":7}' }]);
    const run = await api.call('GET', body.url, { key: null, headers });
    expect(run.body).toMatchObject({ state: 'completed', result: { status: 200, body: 'thank you' } });
    expect(program.stdout() + program.stderr()).not.toContain(secret);
    program.kill('SIGTERM');
    expect(await program.exit).toEqual({ code: 0, signal: null });
  });

  it('calls by the schedules of a jobs module', async () => {
    const target = await startTarget(respond(200));
    const { prefix } = await fixture([]);
    const RONDO_JOBS = writeJobs(
      `import { httpRequest } from 'rondo';
      export default [
        httpRequest({
          allow: ['127.0.0.1'],
          schedules: [{ id: 'ping', cron: '* * * * * *', payload: { url: '${target.url}/ping' } }],
        }),
      ];`,
      { folder: freshFolder() },
    );
    const program = startProgram(['start'], {
      env: { RONDO_JOBS, RONDO_PREFIX: prefix, RONDO_API_KEYS: `shop:${secret}:read` },
    });
    const line = await program.line(isEvent('run.succeeded'), 30_000);
    expect(line).toMatchObject({ job: 'http-request', schedule: 'ping' });
    expect(target.received[0]).toMatchObject({ method: 'GET', url: '/ping' });
  });

  it('refuses a schedule whose payload is none', () => {
    const job = httpRequest({ schedules: [{ id: 'ping', every: '1m', payload: { url: 'no url' } }] });
    expect(() => createRegistry([job])).toThrow(
      /http-request: schedules\[0\]\.payload\.url: expected an http or https URL/,
    );
  });
});

function hasIPv6(): boolean {
  return Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));
}
