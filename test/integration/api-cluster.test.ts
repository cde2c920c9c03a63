import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { startCluster } from '../support/cluster.js';
import { createGate, type Gate } from '../support/gate.js';
import { fixture } from '../support/harness.js';
import { secretOf } from '../support/http.js';
import { hasRedisServer } from '../support/servers.js';

it.skipIf(!hasRedisServer())(
  'the API on a cluster waits, streams, counts and knows a request again, also when no node knows its scripts any more',
  async () => {
    const { url, nodes, stop } = await startCluster();
    onTestFinished(stop);
    let gate: Gate = createGate();
    // Several jobs, and so several slots: one reader of events each.
    const jobs = ['mail', 'report', 'billing'].map((name) =>
      defineJob({
        name,
        payload: z.object({ n: z.number() }),
        run: async ({ payload, log, progress }) => {
          await gate.opened;
          log.info(`number ${payload.n}`);
          await progress(50);
          return payload.n;
        },
      }),
    );
    const { events, work, serve } = await fixture(jobs, { url });
    await work();
    const api = await serve();
    const forgetScripts = () =>
      Promise.all(
        nodes.map(async (node) => {
          const client = new Redis(node.url);
          await client.call('SCRIPT', 'FLUSH', 'SYNC').finally(() => client.disconnect());
        }),
      );

    for (const round of [1, 2]) {
      gate = createGate();
      const begun = await Promise.all(jobs.map(({ name }) => enqueueTwice(name, round)));
      const waiting = begun.map(({ path }) => api.call('GET', `${path}?wait=20s`));
      const streams = begun.map(({ path }) => eventsOf(path));
      await Promise.all(streams.map(({ opened }) => opened));
      gate.open();

      for (const { body } of await Promise.all(waiting))
        expect(body).toMatchObject({ state: 'completed', result: round });
      for (const { all } of streams) {
        const told = await all;
        expect(told).toContain('event: progress');
        expect(told).toContain(`number ${round}`);
        expect(told).toMatch(/event: end\n/);
      }
      await forgetScripts();
    }

    const limited = await serve({ rateLimit: { max: 3, perMs: 60_000 } });
    const ask = async () => {
      await forgetScripts();
      return limited.call('GET', '/v1/jobs', { key: 'read' });
    };
    const answers = [await ask(), await ask(), await ask(), await ask()];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
    expect(events.of('limits.uncounted')).toEqual([]);

    async function enqueueTwice(job: string, n: number) {
      const call = { json: { payload: { n } }, headers: { 'Idempotency-Key': `${job}-${n}` } };
      const first = await api.call('POST', `/v1/jobs/${job}/runs`, call);
      await forgetScripts();
      const second = await api.call('POST', `/v1/jobs/${job}/runs`, call);
      expect([first.status, second.status]).toEqual([202, 202]);
      expect(second.body).toEqual(first.body);
      expect(second.headers.get('idempotent-replayed')).toBe('true');
      return { path: `/v1/jobs/${job}/runs/${encodeURIComponent(first.body.id)}` };
    }

    function eventsOf(path: string) {
      const opened = fetch(`${api.url}${path}/events`, { headers: { authorization: `Bearer ${secretOf('admin')}` } });
      return { opened, all: opened.then((response) => response.text()) };
    }
  },
  90_000,
);
