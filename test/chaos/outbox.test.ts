import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { createClient, createOutbox, outboxTable, relayOnce, relayOutbox } from '../../src/client/index.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { eventually, fixture } from '../support/harness.js';
import { secretOf } from '../support/http.js';
import { postgresPrograms, startPostgres } from '../support/postgres.js';
import { runScript } from '../support/processes.js';

const programs = postgresPrograms();
if (!programs) console.warn('SKIPPED: the outbox is not tested, since no PostgreSQL is installed here');

const jobs = [defineJob({ name: 'mail', payload: z.object({ order: z.number() }), run: () => {} })];
const outbox = createOutbox<typeof jobs>();

let postgres: Awaited<ReturnType<typeof startPostgres>>;
beforeAll(async () => {
  if (programs) postgres = await startPostgres(programs);
});
afterAll(() => postgres?.stop());

async function start() {
  await postgres.query('DROP TABLE IF EXISTS rondo_outbox, orders');
  await postgres.query(outboxTable);
  await postgres.query('CREATE TABLE orders (id int PRIMARY KEY)');
  const { serve } = await fixture(jobs);
  const api = await serve();
  const client = createClient<typeof jobs>({ url: api.url, key: secretOf('admin') });
  const orders = async () => {
    const { runs } = await client.runs('mail', { limit: 1_000 });
    return runs.map(({ payload }) => (payload as { order: number }).order).sort((a, b) => a - b);
  };
  /** What a service does: the data and its run in one transaction. */
  const order = (id: number, end: 'COMMIT' | 'ROLLBACK' = 'COMMIT') => {
    const { text, values } = outbox.insert('mail', { order: id }, { priority: 7 });
    return postgres.query(`BEGIN; INSERT INTO orders VALUES (${id}); ${text}; ${end}`, values);
  };
  const left = async () => (await postgres.query('SELECT * FROM rondo_outbox')).rows;
  return { ...postgres, api, serve, client, orders, order, left };
}

test.skipIf(!programs)(
  'wherever a relay is killed, each committed row becomes one run, and no rolled-back one does',
  async () => {
    const { folder, api, orders, order, left } = await start();
    const env = { PG_FOLDER: folder, API_URL: api.url, API_KEY: secretOf('admin') };
    const committed: number[] = [];
    let killed = 0;
    for (let point = 0; ; point++) {
      for (const id of [10 * point + 1, 10 * point + 2]) {
        await order(id);
        committed.push(id);
      }
      await order(10 * point + 3, 'ROLLBACK');
      const { signal, done } = await runScript('relay.mjs', { ...env, DIE_AT: String(point) });
      if (signal === 'SIGKILL') killed++;
      // Every point has been one to die at: what it does in all had fewer steps.
      if (done) {
        expect(done.steps).toBeLessThanOrEqual(point);
        break;
      }
    }
    expect(killed).toBeGreaterThanOrEqual(8); // taking, two requests, deleting: before and after each
    await eventually(async () => {
      await Promise.all([runScript('relay.mjs', env), runScript('relay.mjs', env)]);
      return (await left()).length === 0;
    }, 30_000);
    expect(await orders()).toEqual(committed);
    expect(await left()).toEqual([]);
  },
  60_000,
);

test.skipIf(!programs)(
  'a relay goes on until it is stopped, through an api that is away',
  async () => {
    const { query, api, serve, client, orders, order, left } = await start();
    const stop = new AbortController();
    const troubles: unknown[] = [];
    const relaying = relayOutbox({
      ...{ query, client, signal: stop.signal, idleMs: 50, leaseMs: 3_000 },
      onTrouble: (trouble) => troubles.push(trouble),
    });
    await order(1);
    await eventually(async () => (await left()).length === 0);
    await api.stop();
    await order(2);
    await eventually(() => troubles.length > 0);
    expect(await left()).toMatchObject([{ job: 'mail', refused: null }]);
    await serve({ port: Number(new URL(api.url).port) });
    await eventually(async () => (await left()).length === 0);
    stop.abort();
    await relaying;
    expect(await orders()).toEqual([1, 2]);
    expect((await client.runs('mail')).runs).toHaveLength(2);
  },
  30_000,
);

test.skipIf(!programs)(
  'a row that the api refuses is set aside with the reason, and keeps no other waiting',
  async () => {
    const { query, client, orders, order, left } = await start();
    await query(`INSERT INTO rondo_outbox (job, payload, due_at) VALUES ('mail', '{"order":"one"}', 'epoch')`);
    await query(`INSERT INTO rondo_outbox (job, due_at) VALUES ('mial', 'epoch')`);
    await order(5);
    const troubles: { refused: boolean }[] = [];
    const input = { query, client, batch: 2, onTrouble: (trouble: { refused: boolean }) => troubles.push(trouble) };
    expect(await relayOnce(input)).toEqual({ enqueued: 0, refused: 1, kept: 1 });
    expect(await relayOnce(input)).toEqual({ enqueued: 1, refused: 0, kept: 0 });
    expect(await orders()).toEqual([5]);
    expect(troubles.map(({ refused }) => refused).sort()).toEqual([false, true]);
    const rows = await left();
    expect(rows).toHaveLength(2);
    expect(rows.find(({ job }) => job === 'mail')?.refused).toContain('payload-invalid: The payload does not fit');
    expect(rows.find(({ job }) => job === 'mial')?.refused).toBeNull();

    // The longer it has been in vain, the further away is its next turn.
    await query(
      `UPDATE rondo_outbox SET created_at = now() - interval '1 hour', due_at = 'epoch' WHERE job = 'mial'`,
      [],
    );
    expect(await relayOnce(input)).toEqual({ enqueued: 0, refused: 0, kept: 1 });
    const later = await query(
      `SELECT id FROM rondo_outbox WHERE refused IS NULL AND due_at > now() + interval '50 seconds'`,
      [],
    );
    expect(later.rows).toHaveLength(1);
  },
);
