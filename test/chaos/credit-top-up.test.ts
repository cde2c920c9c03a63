import { expect, onTestFinished, test } from 'vitest';
import { monthlyCreditTopUp } from '../../src/jobs/catalog/monthly-credit-top-up.js';
import { stalePurchaseCleanup } from '../../src/jobs/catalog/stale-purchase-cleanup.js';
import { createDatabase } from '../../src/postgres/database.js';
import { migrate, migrationState } from '../../src/postgres/migrate.js';
import { runJob } from '../../src/testing/run-job.js';
import { creditTables } from '../support/credits.js';
import { postgresPrograms, startPglite, startPostgres } from '../support/postgres.js';
import { runScript } from '../support/processes.js';

const programs = postgresPrograms();
if (!programs) console.warn('SKIPPED: the top-up is not killed, since no PostgreSQL is installed here');

async function start(server: { url: string; stop(): Promise<void> }) {
  const database = createDatabase({ url: server.url, poolSize: 2, statementTimeout: 20_000 });
  onTestFinished(async () => {
    await database.stop(Date.now() + 1_000);
    await server.stop();
  });
  await migrate(server.url);
  const tables = creditTables(database);
  await tables.empty();
  return { url: server.url, database, tables };
}

test.skipIf(!programs)(
  'wherever a top-up is killed, the next one credits who is left, and each user once',
  async () => {
    const { url, tables } = await start(await startPostgres(String(programs)));
    await tables.addUsers(1, 3, 'free', 40);
    await tables.addUsers(4, 1, 'pro', 0);
    const month = '2026-11';
    let killed = 0;
    for (let point = 0; ; point++) {
      const { signal, code, done } = await runScript('credit-run.mjs', {
        DATABASE_URL: url,
        DIE_AT: String(point),
        MONTH: month,
      });
      const adjustments = await tables.adjustments();
      const credited = new Map(adjustments.map(({ user, amount }) => [user, amount]));
      // At every moment there is a row for what was credited, and nothing was credited without.
      const before = [40, 40, 40, 0];
      expect(await tables.credits()).toEqual(before.map((credits, index) => credits + (credited.get(index + 1) ?? 0)));
      expect(new Set(adjustments.map(({ user }) => user)).size).toBe(adjustments.length);
      if (signal === 'SIGKILL') killed++;
      if (done) {
        expect(code).toBe(0);
        break;
      }
    }
    expect(killed).toBeGreaterThanOrEqual(15);
    expect(await tables.credits()).toEqual([100, 100, 100, 500]);
    expect((await tables.adjustments()).map(({ amount }) => amount)).toEqual([60, 60, 60, 500]);
  },
);

test('the jobs of the catalog do the same on PGlite', async () => {
  const { url, database, tables } = await start(await startPglite());
  await tables.addUsers(1, 5, 'free', 30);
  await tables.addUsers(6, 1, 'pro', 500);
  await database.query(`INSERT INTO rondo_catalog.purchases (status, updated_at)
    SELECT status, now() - days * interval '1 day'
    FROM unnest(ARRAY['pending', 'failed', 'completed']) AS status, unnest(ARRAY[6, 8]) AS days`);

  const topUp = monthlyCreditTopUp({ database, batchSize: 2 });
  const both = await Promise.all([runJob(topUp, { month: '2026-02' }), runJob(topUp, { month: '2026-02' })]);
  expect(both.reduce((sum, { result }) => sum + result.users, 0)).toBe(5);
  expect(await tables.credits()).toEqual([100, 100, 100, 100, 100, 500]);
  expect(await tables.adjustments()).toHaveLength(5);
  expect((await runJob(stalePurchaseCleanup({ database }), {})).result).toMatchObject({ deleted: 2 });
  expect((await migrationState(url)).pending).toEqual([]);
});
