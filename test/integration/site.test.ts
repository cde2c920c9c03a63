import { once } from 'node:events';
import { connect } from 'node:net';
import express from 'express';
import { describe, expect, it, onTestFinished } from 'vitest';
import { RondoError } from '../../src/errors.js';
import { html } from '../../src/http/site/html.js';
import { createLive, type LiveOptions, type LiveSource } from '../../src/http/site/live.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { readStored } from '../../src/producers/store.js';
import { sentEvents } from '../support/event-stream.js';
import { eventually, fixture } from '../support/harness.js';
import { apiKey, type Call, keyPerScope, listen, secretOf } from '../support/http.js';

const jobs = [
  defineJob({ name: 'mail-digest', schedules: [{ id: 'day', every: '1h' }], run: () => null }),
  defineJob({ name: 'print', schedules: [{ id: 'print', every: '1h' }], run: () => null }),
];

async function open(options: Parameters<Awaited<ReturnType<typeof fixture>>['serve']>[0] = {}) {
  const parts = await fixture(jobs);
  await parts.produce();
  await parts.events.next('schedules.reconciled');
  return { ...parts, api: await parts.serve(options) };
}

const browser = { accept: 'text/html', 'content-type': 'application/x-www-form-urlencoded' };
const mailKey = { ...apiKey('mail', ['operate']), jobs: ['mail-*'] };

describe('the pages', () => {
  it('come with a policy that lets nothing in line run, and are kept by no cache', async () => {
    const { api } = await open();
    const { status, headers, body } = await api.call('GET', '/schedules', { key: 'read', headers: browser });
    expect(status).toBe(200);
    expect(headers.get('content-security-policy')).toContain("script-src 'self';style-src 'self'");
    expect(headers.get('content-security-policy')).not.toContain('unsafe');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(body).not.toMatch(/<script(?! type="module" src="\/assets\/)|<style|\son\w+=|\sstyle=/);

    const assets = [...String(body).matchAll(/"(\/assets\/[^"]+)"/g)].map(([, address]) => String(address));
    expect(assets).toHaveLength(2);
    for (const address of assets) {
      const asset = await api.call('GET', address, { key: null });
      expect(asset.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      const other = await api.call('GET', address.replace(/v=.*/, 'v=old'), { key: null });
      expect([other.status, other.headers.get('cache-control')]).toEqual([200, 'no-cache']);
    }
    expect((await api.call('GET', '/assets/app.ts', { key: 'read' })).status).toBe(404);
  });

  it('and lists go out compressed to who takes that, and what changes something as it is', async () => {
    const { api } = await open();
    const encodingOf = async (method: string, path: string, encoding: string) => {
      const { status, headers } = await api.call(method, path, { headers: { 'accept-encoding': encoding } });
      return [status, headers.get('content-encoding')];
    };
    for (const path of ['/schedules', '/v1/jobs']) {
      expect(await encodingOf('GET', path, 'gzip'), path).toEqual([200, 'gzip']);
      expect(await encodingOf('GET', path, 'identity'), path).toEqual([200, null]);
    }
    expect(await encodingOf('POST', '/v1/jobs/print/runs', 'gzip')).toEqual([202, null]);
  });

  it('show a key that is for some jobs these alone, and refuse the others', async () => {
    const { api, broker } = await open({ keys: [mailKey] });
    const call = (method: string, path: string, call: Call = {}) =>
      api.call(method, path, { key: 'mail', headers: browser, ...call });
    const list = await call('GET', '/schedules');
    expect(list.body).toContain('href="/schedules/day"');
    expect(list.body).not.toContain('print');
    expect((await call('GET', '/schedules/day')).status).toBe(200);
    for (const path of ['/schedules/print', '/schedules/print/pause'])
      expect((await call('GET', path)).status).toBe(403);
    expect((await call('POST', '/schedules/print/pause', { body: 'note=x' })).status).toBe(403);
    expect((await readStored(broker, 'print'))?.pause).toBeUndefined();
    expect((await call('POST', '/schedules/day/pause', { body: 'note=x' })).status).toBe(303);
    expect((await readStored(broker, 'day'))?.pause).toMatchObject({ note: 'x', by: 'mail' });
  });

  it('tell what is wrong with an address, in a page or for a program', async () => {
    const { api } = await open();
    const page = (path: string) => api.call('GET', path, { headers: browser });
    const wrong = await page('/schedules?sort=<b>&page=0&hue=red');
    expect(wrong.status).toBe(422);
    for (const word of ['<b>sort</b>', '<b>page</b>', '<b>hue</b>']) expect(wrong.body).toContain(word);
    expect(wrong.body).not.toContain('got "<b>"');
    expect((await page('/schedules/dya')).body).toContain('&#34;dya&#34; (did you mean &#34;day&#34;?)');
    expect((await page('/schedules/day/explode')).status).toBe(404);
    expect((await page('/schedules/day?at=noon')).body).toContain('an ISO time with a zone');
    const answer = await api.call('GET', '/schedules/dya');
    expect(answer.body).toMatchObject({ status: 404, code: 'schedule-unknown' });
  });

  it('count what is posted with the calls of the same key', async () => {
    const { api } = await open({ keys: keyPerScope, rateLimit: { max: 1, perMs: 60_000 } });
    const pause = () => api.call('POST', '/schedules/day/pause', { headers: browser, body: 'note=x' });
    expect((await pause()).status).toBe(303);
    expect((await pause()).status).toBe(429);
  });

  it('are brought up to date by events, of what the page shows and the key may see', async () => {
    const { api } = await open({ keys: [mailKey] });
    const events = await follow(`${api.url}/schedules?parts=day~old,print~old`, mailKey.name);
    const { data } = await events.next('part');
    expect(data).toMatchObject({ part: 'day', html: expect.stringContaining('/schedules/day') });
    const other = (await events.next('part')).data;
    expect(other).toMatchObject({ part: 'print', html: expect.stringContaining('It was removed') });
    expect(other.html).not.toContain('/schedules/print');
    await events.next('alive');
    expect(events.seen.filter((name) => name === 'part')).toEqual(['part', 'part']);
    for (const parts of ['', 'day', `${'x'.repeat(9)}~y,`.repeat(300)]) {
      const refused = await api.call('GET', `/schedules?parts=${parts}`, {
        ...{ key: 'mail', headers: { accept: 'text/event-stream' } },
      });
      expect(refused.body).toMatchObject({ status: 422, problems: [{ where: 'parts' }] });
    }
  });

  it('of the list tell how many there are of each health, and that others are on it by now', async () => {
    const { api } = await open();
    const upToDate = await follow(`${api.url}/schedules?health=sound&parts=day~,print~,:chips~,:changed~old`, 'read');
    expect((await upToDate.next('part', ':chips')).data.html).toContain('href="/schedules">all <b>2</b>');
    expect((await upToDate.next('part', ':changed')).data.html).toBe('');
    const older = await follow(`${api.url}/schedules?health=sound&parts=day~,:changed~`, 'read');
    expect((await older.next('part', ':changed')).data.html).toContain('href="/schedules?health=sound">show it');
  });

  it('of a schedule end with a last word when it is removed, without a word of others', async () => {
    const { api } = await open({ keys: [mailKey] });
    const json = { job: 'mail-digest', every: '1h' };
    expect((await api.call('PUT', '/v1/schedules/prin', { key: 'mail', json })).status).toBe(201);
    const viewer = await follow(`${api.url}/schedules/prin?parts=status~`, 'mail');
    await viewer.next('part');
    expect((await api.call('DELETE', '/v1/schedules/prin', { key: 'mail' })).status).toBe(204);
    expect((await viewer.next('gone')).data).toEqual({ message: 'It was removed, or cannot be read any more' });
    await viewer.ended;
    expect(viewer.seen).not.toContain('trouble');
  });

  it('start one run by one form, however often it is posted', async () => {
    const { api, broker } = await open();
    const send = async (nonce: string) => {
      const body = new URLSearchParams({ nonce }).toString();
      const { status, headers } = await api.call('POST', '/schedules/day/trigger', { headers: browser, body });
      expect(status).toBe(303);
      return new URL(headers.get('location') ?? '', api.url).searchParams.get('run');
    };
    const form = async () => {
      const { body } = await api.call('GET', '/schedules/day/trigger', { headers: browser });
      return String(/name="nonce" value="([^"]+)"/.exec(body)?.[1]);
    };
    const first = await form();
    const run = await send(first);
    expect(run).toBe(`trigger:day:${first}`);
    expect(await send(first)).toBe(run);
    const another = await send(await form());
    // What no form of ours has sent names no run.
    const byHand = await send('a:b');
    expect(byHand).toMatch(/^trigger:day:[0-9a-f]{8}$/);
    expect(new Set([run, another, byHand]).size).toBe(3);
    expect(await broker.queue('mail-digest').getWaitingCount()).toBe(3);
  });

  it('keep in their links what is searched for, whatever it is', async () => {
    const { api } = await open();
    const linksOf = async (query: string) => {
      const { body } = await api.call('GET', `/schedules?${query}`, { headers: browser });
      return [...String(body).matchAll(/class="chip [^"]*" href="([^"]+)"/g)].map(([, href]) => href);
    };
    expect((await linksOf('q=trouble&job=trouble'))[0]).toBe('/schedules?q=trouble&#38;job=trouble');
    expect((await linksOf('health=trouble&page=1&sort=trouble')).slice(0, 2)).toEqual([
      ...['/schedules', '/schedules?health=trouble'],
    ]);
  });
});

describe('of what was asked', () => {
  const gone = 'POST /v1/jobs/print/runs 499';

  it('streams and waits are not told as slow requests, and who left before the answer is told as 499', async () => {
    const { api, events } = await open();
    const { body } = await api.call('POST', '/v1/jobs/print/runs');
    expect((await api.call('GET', `/v1/jobs/print/runs/${body.id}?wait=50ms`)).body).toMatchObject({
      state: 'waiting',
    });
    expect((await api.call('GET', '/v1/jobs/print/runs/none?wait=50ms')).status).toBe(404);
    await api.call('HEAD', `/v1/jobs/print/runs/${body.id}/events`); // answered at once, whatever it would be for a GET
    const viewer = await follow(`${api.url}/schedules?parts=day~`, 'read');
    await viewer.next('part');

    const { hostname, port } = new URL(api.url);
    const socket = connect({ host: hostname, port: Number(port) });
    const headers = `Host: rondo\r\nAuthorization: Bearer ${secretOf('admin')}\r\nContent-Length: 9`;
    socket.write(`POST /v1/jobs/print/runs HTTP/1.1\r\n${headers}\r\nContent-Type: application/json\r\n\r\n{`);
    await new Promise((resolve) => setTimeout(resolve, 100)); // there is no telling that half a request has arrived
    socket.destroy();
    await events.next('http.answered', ({ method, path, status }) => `${method} ${path} ${status}` === gone);

    await api.stop();
    await viewer.ended;
    const told = events.of('http.answered').map(({ method, path, status }) => `${method} ${path} ${status}`);
    const { id } = body;
    expect(told).toEqual([
      'POST /v1/jobs/print/runs 202',
      'GET /v1/jobs/print/runs/none 404',
      `HEAD /v1/jobs/print/runs/${id}/events 200`,
      gone,
    ]);
  });
});

describe('live pages', () => {
  it('are read for once, however many look at the same, and no longer than somebody does', async () => {
    let reads = 0;
    const source = async () => {
      reads++;
      return new Map([['clock', html`<b>${reads}</b>`]]);
    };
    const { live, url } = await serve({ key: 'same', read: source }, { everyMs: 20 });
    const viewers = await Promise.all([1, 2, 3].map(() => follow(`${url}?parts=clock~`)));
    await Promise.all(viewers.map((viewer) => viewer.next('part')));
    // Each read would be another number, were there one for each of them.
    const shared = `<b>${reads + 3}</b>`;
    const untilShared = async (viewer: (typeof viewers)[number]) => {
      while ((await viewer.next('part')).data.html !== shared);
    };
    await Promise.all(viewers.map(untilShared));
    for (const viewer of viewers) viewer.leave();
    await eventually(() => live.size() === 0);
    const before = reads;
    await new Promise((resolve) => setTimeout(resolve, 100)); // five rounds, were there any
    expect(reads - before).toBeLessThanOrEqual(1);
  });

  it('are refused beyond a bound, told of trouble, and let go when the process stops', async () => {
    let fails = true;
    const read = async () => {
      if (fails) throw new Error('ECONNREFUSED');
      return new Map([['clock', html`now`]]);
    };
    const { live, url } = await serve({ key: 'same', read }, { everyMs: 20, mostPages: 1 });
    const viewer = await follow(`${url}?parts=clock~`);
    expect((await viewer.next('trouble')).data).toEqual({ message: 'Redis does not answer' });
    expect((await fetch(`${url}?parts=clock~`)).status).toBe(503);
    fails = false;
    expect((await viewer.next('part')).data).toMatchObject({ part: 'clock', html: 'now' });
    live.stop();
    await viewer.ended;
    expect(live.size()).toBe(0);
  });

  it('are not kept for who left before they began', async () => {
    const live = createLive();
    const app = express();
    const followed = new Promise<void>((resolve) => {
      app.get('/', async (request, response) => {
        await once(response, 'close');
        live.follow(request, response, { key: 'same', read: async () => new Map() });
        resolve();
      });
    });
    const { url } = await listen(app);
    onTestFinished(() => live.stop());
    await expect(fetch(`${url}/?parts=clock~`, { signal: AbortSignal.timeout(100) })).rejects.toThrow();
    await followed;
    expect(live.size()).toBe(0);
  });

  it('come back after a while, also where nothing could be read all the time', async () => {
    const read = async () => {
      throw new RondoError('redis-unreachable', '');
    };
    const { live, url } = await serve({ key: 'same', read }, { everyMs: 10, longestMs: 50 });
    const viewer = await follow(`${url}?parts=clock~`);
    await viewer.ended;
    expect(viewer.seen).toContain('trouble');
    await eventually(() => live.size() === 0);
  });
});

/** A page's stream alone. */
async function serve(source: LiveSource, options: LiveOptions) {
  const live = createLive(options);
  const app = express();
  app.get('/', (request, response) => {
    try {
      live.follow(request, response, source);
    } catch {
      response.status(503).end();
    }
  });
  const { url } = await listen(app);
  onTestFinished(() => live.stop());
  return { live, url: `${url}/` };
}

interface Told {
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: what came is what the test is about
  readonly data: any;
}

/** Reads server-sent events as a browser does. */
async function follow(url: string, key?: string) {
  const abort = new AbortController();
  onTestFinished(() => abort.abort());
  const authorization = key && { authorization: `Bearer secret-of-${key}-0123456789` };
  const response = await fetch(url, {
    signal: abort.signal,
    headers: { accept: 'text/event-stream', ...authorization },
  });
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
  const told: Told[] = [];
  const seen: string[] = [];
  const read = async () => {
    for await (const { event: name, data } of sentEvents(response)) {
      if (!name || data === undefined) continue;
      seen.push(name);
      told.push({ name, data: JSON.parse(data) });
    }
  };
  const ended = read().catch(() => {});
  const next = (name: string, part?: string) =>
    eventually(() => {
      const at = told.findIndex((event) => event.name === name && (!part || event.data.part === part));
      return at >= 0 && told.splice(at, 1)[0];
    });
  return { seen, next, ended, leave: () => abort.abort() };
}
