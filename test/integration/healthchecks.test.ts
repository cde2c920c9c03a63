import { describe, expect, it } from 'vitest';
import { defineJob, type JobDefinition } from '../../src/jobs/define-job.js';
import { pingUrl } from '../../src/jobs/healthcheck.js';
import { triggerSchedule } from '../../src/producers/operations.js';
import { createOwnHealthcheck } from '../../src/producers/own-healthcheck.js';
import { eventually, fixture, recordEvents } from '../support/harness.js';
import { type Received, startTarget } from '../support/http.js';

const urlOf = (base: string) => `${base}/uuid`;

/** A job that ticks every second, and a switch that its ticks tell. */
function nightly(base: string, run: JobDefinition['run'], attempts = 1) {
  const retry = { attempts, backoff: 'fixed', delay: 10 } as const;
  const schedules = [{ id: 'nightly', every: '1s' as const, healthcheck: urlOf(base) }];
  return defineJob({ name: 'nightly', schedules, retry, run }) as JobDefinition;
}

/** What was told of each run, by the id that the service knows it by, in the order in which it came. */
function toldOf(received: readonly Received[]): string[][] {
  const runs = new Map<string, string[]>();
  for (const { url } of received) {
    const { pathname, searchParams } = new URL(url, 'http://switch');
    const rid = String(searchParams.get('rid'));
    runs.set(rid, [...(runs.get(rid) ?? []), pathname]);
  }
  return [...runs.values()];
}

describe('a dead man’s switch of a schedule', () => {
  it('is told when a run begins and when it has succeeded, in this order, and not of triggers', async () => {
    // The first answers are slow: what comes later must wait for them.
    const target = await startTarget(({ url }, response) => {
      setTimeout(() => response.end(), url?.includes('/start') ? 150 : 0);
    });
    const f = await fixture([nightly(target.url, () => 'done')]);
    await f.work({ healthcheckAllow: ['127.0.0.1'] });
    const producer = await f.produce();
    const { run } = await eventually(() => f.events.of('run.succeeded')[0]);
    await producer.stop(Date.now() + 1_000);
    await f.broker.queue('nightly').removeJobScheduler('nightly');
    await eventually(() => toldOf(target.received)[0]?.length === 2);
    expect(toldOf(target.received)[0]).toEqual(['/uuid/start', '/uuid']);
    expect(target.received[0]?.url).toBe(`/uuid/start${pingUrl(urlOf(target.url), 'start', run).search}`);

    const triggered = (await triggerSchedule(f.broker, 'nightly')).run;
    await f.events.next('run.succeeded', (event) => event.run === triggered);
    const { search } = pingUrl(urlOf(target.url), 'success', triggered);
    expect(target.received.filter(({ url }) => url.endsWith(search))).toEqual([]);
  });

  it('is told of a failure once, after the last attempt, however broken it is itself', async () => {
    const target = await startTarget((_, response) => {
      response.statusCode = 500;
      response.end();
    });
    const fail = () => {
      throw new Error('no disk');
    };
    const f = await fixture([nightly(target.url, fail, 3)]);
    const pool = await f.work({ healthcheckAllow: ['127.0.0.1'] });
    await f.produce();
    const failure = await f.events.next('run.failed', ({ retryInMs }) => retryInMs === null);
    expect(failure).toMatchObject({ attempt: 3, reason: 'no disk' });
    await pool.stop(Date.now() + 5_000); // what is on its way still arrives
    expect(toldOf(target.received)[0]).toEqual(['/uuid/start', '/uuid/fail']);
    const told = f.events.of('ping.failed');
    expect(told[0]).toMatchObject({ ping: 'start', host: new URL(target.url).host, reason: 'it answered 500' });
    expect(JSON.stringify(told)).not.toContain('uuid');
  });

  it('is not called where its address is not public and nobody allowed it; the run succeeds all the same', async () => {
    const target = await startTarget((_, response) => void response.end());
    const f = await fixture([nightly(target.url, () => 'done')]);
    await f.work();
    await f.produce();
    await f.events.next('run.succeeded');
    const { reason } = await f.events.next('ping.failed', ({ ping }) => ping === 'success');
    expect(reason).toBe('127.0.0.1 is not a public address, and HTTP_REQUEST_ALLOW does not name it');
    expect(target.received).toEqual([]);
  });
});

describe('the producer’s own switch', () => {
  it('is told of passes, once in a while, and again at once where that did not arrive', async () => {
    let status = 503;
    const target = await startTarget((_, response) => {
      response.statusCode = status;
      response.end();
    });
    const events = recordEvents();
    const own = createOwnHealthcheck(`${target.url}/uuid`, events.emit);
    own.beat();
    await own.stop();
    expect(events.of('ping.failed')).toMatchObject([{ reason: 'it answered 503' }]);
    status = 200;
    own.beat();
    await own.stop();
    own.beat();
    await own.stop();
    expect(target.received.map(({ url }) => url)).toEqual(['/uuid', '/uuid']);
  });

  it('hears of the producer that leads, and not of one that stands by', async () => {
    const targets = [await startTarget((_, it) => void it.end()), await startTarget((_, it) => void it.end())];
    const f = await fixture([]);
    for (const { url } of targets) await f.produce({ healthcheckUrl: url });
    await eventually(() => targets[0]?.received.length === 1);
    expect(targets[1]?.received).toEqual([]);
  });
});
