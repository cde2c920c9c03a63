import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { findSchedules } from '../../src/producers/browse.js';
import { wantedOf } from '../../src/producers/plan.js';
import { putSchedules } from '../../src/producers/put.js';
import { reconcile } from '../../src/producers/schedules.js';
import { eventually, fixture } from '../support/harness.js';

const many = 10_000;
const overHttp = 300;
const again = 2_000;

describe('ten thousand schedules, put at run time', () => {
  it('are put within a minute, found sound, listed, run, and put once more without a touch', async () => {
    const ran = new Set<string>();
    const job = defineJob({
      name: 'digest',
      payload: z.object({ tenant: z.int() }),
      concurrency: 50,
      run: ({ tick }) => void ran.add(String(tick?.schedule)),
    });
    const { broker, serve, work } = await fixture([job]);
    const registry = createRegistry([job]);
    const api = await serve();
    // A hundred of them are due while somebody looks; the others some time within the hour.
    const schedules = Array.from({ length: many }, (_, tenant) => {
      const times = tenant < 100 ? { every: '1s', spread: '900ms' } : { cron: '0 7 * * *', spread: '1h' };
      return { id: `digest-${tenant}`, job: 'digest', ...times, payload: { tenant } };
    });

    const putAt = performance.now();
    const input = { by: 'ops', now: Date.now };
    const done = await putSchedules(broker, registry, schedules.slice(overHttp), input, () => {});
    const putMs = performance.now() - putAt;
    expect(done.filter(({ result }) => result !== 'created')).toEqual([]);

    const httpAt = performance.now();
    const statuses = new Set<number>();
    for (let first = 0; first < overHttp; first += 50) {
      const batch = schedules.slice(first, first + 50).map(async ({ id, ...json }) => {
        statuses.add((await api.call('PUT', `/v1/schedules/${id}`, { key: 'operate', json })).status);
      });
      await Promise.all(batch);
    }
    const httpMs = performance.now() - httpAt;
    expect([...statuses]).toEqual([201]);

    const lookAt = performance.now();
    const wanted = wantedOf(registry);
    const looked = await reconcile(broker, { app: 'test', release: '1', wanted, now: Date.now }, () => {});
    const lookMs = performance.now() - lookAt;
    expect(looked).toMatchObject({ changes: [], failed: [], conflicts: [], finished: true });

    await work();
    await eventually(() => ran.size === 100);
    const pageAt = performance.now();
    const { body } = await api.call('GET', '/v1/schedules?owner=api&limit=100');
    const pageMs = performance.now() - pageAt;
    expect(body.schedules).toHaveLength(100);
    const rare = await findSchedules(broker, { limit: many, text: 'digest' }, Date.now());
    expect(rare.schedules).toHaveLength(many);
    expect(rare.schedules.filter(({ health }) => health !== 'sound' && health !== 'late')).toEqual([]);

    const againAt = performance.now();
    const repeated = await putSchedules(broker, registry, schedules.slice(-again), input, () => {});
    const againMs = performance.now() - againAt;
    expect(repeated.filter(({ result }) => result !== 'unchanged')).toEqual([]);

    const perSecond = (count: number, ms: number) => Math.round((1_000 * count) / ms);
    console.log(
      `put ${perSecond(many - overHttp, putMs)} a second, over HTTP ${perSecond(overHttp, httpMs)}, ` +
        `unchanged ${perSecond(again, againMs)}; a look ${Math.round(lookMs)} ms, a page ${Math.round(pageMs)} ms`,
    );
    expect(putMs).toBeLessThan(60_000);
  });
});
