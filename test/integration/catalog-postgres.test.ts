import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { monthlyCreditTopUp } from '../../src/jobs/catalog/monthly-credit-top-up.js';
import { stalePurchaseCleanup } from '../../src/jobs/catalog/stale-purchase-cleanup.js';
import type { Database } from '../../src/jobs/database.js';
import { createDatabase } from '../../src/postgres/database.js';
import { migrate } from '../../src/postgres/migrate.js';
import { runJob } from '../../src/testing/run-job.js';
import { commands } from '../support/commands.js';
import { creditTables } from '../support/credits.js';
import { eventually, freshPrefix } from '../support/harness.js';
import { databasePassword, postgresPrograms, startDatabase } from '../support/postgres.js';
import { startProgram } from '../support/processes.js';

const isReal = postgresPrograms() !== null;
const migrations = readdirSync('src/postgres/migrations')
  .map((file) => file.replace('.sql', ''))
  .sort();
let server: Awaited<ReturnType<typeof startDatabase>>;
let database: ReturnType<typeof open>;
let tables: ReturnType<typeof creditTables>;

beforeAll(async () => {
  server = await startDatabase();
  database = open();
  tables = creditTables(database);
});
afterAll(async () => {
  await database?.stop(Date.now() + 1_000);
  await server?.stop();
});

function open({ poolSize = 4 } = {}) {
  return createDatabase({ url: server.url, poolSize, statementTimeout: 20_000 });
}

function openForTest(options?: { poolSize: number }) {
  const own = open(options);
  onTestFinished(() => own.stop(Date.now() + 1_000));
  return own;
}

describe('rondo db', () => {
  beforeEach(() => database.query('DROP SCHEMA IF EXISTS rondo_catalog CASCADE'));

  it('tells what it would execute, applies it once, and says where it stands', async () => {
    const rondo = commands({ DATABASE_URL: server.url, REDIS_URL: '' });

    expect(await rondo.attempt('db', 'status')).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^applied +none/),
    });
    expect(await rondo('db', 'migrate', '--dry-run')).toContain('CREATE TABLE rondo_catalog.users');
    expect(await database.query(`SELECT 1 FROM pg_namespace WHERE nspname = 'rondo_catalog'`)).toEqual([]);
    expect(await rondo.json('db', 'migrate')).toEqual({ applied: migrations });
    expect(await rondo('db', 'migrate')).toBe('The tables are up to date.\n');
    expect(await rondo.json('db', 'status')).toEqual({ applied: migrations, pending: [], unknown: [] });
  });

  it('says so where a newer release has been', async () => {
    await migrate(server.url);
    await database.query(`INSERT INTO rondo_catalog.migrations (name, run_on) VALUES ('9999_later', now())`);

    expect(await commands({ DATABASE_URL: server.url })('db', 'status')).toMatch(/of a newer release +9999_later/);
  });

  it('leaves all as it was where a migration fails, and says what Postgres said', async () => {
    await database.query('CREATE SCHEMA rondo_catalog; CREATE TABLE rondo_catalog.tokens ()');

    const failed = await commands({ DATABASE_URL: server.url }).attempt('db', 'migrate');
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining('"tokens" already exists') });
    expect(failed.stderr).toContain('[migration-failed]');
    expect(await database.query(`SELECT to_regclass('rondo_catalog.users') AS users`)).toEqual([{ users: null }]);
  });

  it('refuses a wrong or a missing address, and shows no password', async () => {
    const attempt = (url: string) => commands({ DATABASE_URL: url }).attempt('db', 'migrate');

    const wrong = await attempt(`mysql://app:${databasePassword}@db.example/app`);
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('DATABASE_URL: expected postgres://') });
    const away = await attempt(`postgres://app:${databasePassword}@127.0.0.1:1/app`);
    expect(away).toMatchObject({ code: 1, stderr: expect.stringMatching(/DATABASE_URL: .* \[database-unreachable\]/) });
    expect((await attempt('')).stderr).toContain('DATABASE_URL: expected postgres://');
    expect(wrong.stderr + away.stderr).not.toContain(databasePassword);
    expect((await commands({}).attempt('db', 'drop')).code).toBe(2);
  });

  it.skipIf(!isReal)('applies each migration once where many ask at the same time', async () => {
    const applied = await Promise.all(Array.from({ length: 5 }, () => migrate(server.url)));

    expect(applied.flat()).toEqual(migrations);
  });
});

describe('with the tables', () => {
  beforeAll(() => migrate(server.url));
  beforeEach(() => tables.empty());

  describe('monthly-credit-top-up', () => {
    const topUp = (settings: { database?: Database; timezone?: string; batchSize?: number; now?: () => number } = {}) =>
      monthlyCreditTopUp({ database, ...settings });
    const november = { tick: '2026-11-01T00:00:00Z' };

    it('brings users up to the limit of their tier, with a row for each, and leaves alone who has enough', async () => {
      await tables.addUsers(1, 3, 'free', 30);
      await tables.addUsers(4, 1, 'free', 100);
      await tables.addUsers(5, 1, 'free', 170);
      await tables.addUsers(6, 2, 'pro', 0);

      const { result, progress, log } = await runJob(topUp({ batchSize: 2 }), {}, { ...november, id: 'the-run' });

      expect(result).toEqual({ month: '2026-11', users: 5, credits: 3 * 70 + 2 * 500 });
      expect(await tables.credits()).toEqual([100, 100, 100, 100, 170, 500, 500]);
      const adjustments = await tables.adjustments();
      expect(adjustments.map(({ user }) => user)).toEqual([1, 2, 3, 6, 7]);
      const last = { user: 7, month: '2026-11', tier: 'pro', amount: 500, afterwards: 500, run: 'the-run' };
      expect(adjustments.at(-1)).toEqual(last);
      expect(progress).toEqual([
        { month: '2026-11', tier: 'free', users: 2, credits: 140 },
        { month: '2026-11', tier: 'free', users: 3, credits: 210 },
        { month: '2026-11', tier: 'pro', users: 5, credits: 1_210 },
      ]);
      expect(log).toMatchObject([{ level: 'info', message: 'credits of 2026-11 are topped up' }]);
    });

    it('credits a user once a month however often it runs, and again in the next', async () => {
      await tables.addUsers(1, 3, 'free', 0);
      const spend = () =>
        database.query('UPDATE rondo_catalog.users SET free_credits = free_credits - 60 WHERE id = 1');

      await runJob(topUp(), {}, november);
      await spend();
      expect((await runJob(topUp(), {}, november)).result).toMatchObject({ users: 0, credits: 0 });
      expect(await tables.credits()).toEqual([40, 100, 100]);

      const december = await runJob(topUp(), {}, { tick: '2026-12-01T00:00:00Z' });
      expect(december.result).toEqual({ month: '2026-12', users: 1, credits: 60 });
    });

    it('credits also who moves meanwhile to a tier that was passed', async () => {
      await tables.addUsers(1, 1, 'free', 0);
      await tables.addUsers(2, 1, 'pro', 0);
      let transactions = 0;
      const moving: Database = {
        ...database,
        async transaction(work, bounds) {
          const result = await database.transaction(work, bounds);
          // The one that finds nobody left of the free ones.
          if (++transactions === 2) await database.query("UPDATE rondo_catalog.users SET tier = 'free' WHERE id = 2");
          return result;
        },
      };

      const { result } = await runJob(topUp({ database: moving }), {}, november);

      expect(result).toEqual({ month: '2026-11', users: 2, credits: 200 });
      expect(await tables.credits()).toEqual([100, 100]);
    });

    it("credits the month of its tick, by the zone's calendar, however late it runs", async () => {
      await tables.addUsers(1, 1, 'free', 0);
      const settings = { timezone: 'Asia/Tokyo', now: () => Date.parse('2027-05-05T00:00:00Z') };

      const { result } = await runJob(topUp(settings), {}, { tick: '2026-10-31T15:00:00Z' });

      expect(result).toMatchObject({ month: '2026-11', users: 1 });
    });

    it('credits the month that an ad-hoc run names, else the current one of the zone, and none that has not begun', async () => {
      await tables.addUsers(1, 1, 'free', 0);
      const job = topUp({ timezone: 'America/New_York', now: () => Date.parse('2026-12-01T04:59:59Z') });

      expect((await runJob(job, {})).result).toMatchObject({ month: '2026-11', users: 1 });
      expect((await runJob(job, { month: '2026-09' })).result).toMatchObject({ month: '2026-09', users: 0 });
      await expect(runJob(job, { month: '2026-12' })).rejects.toMatchObject({
        message: '2026-12 has not begun in America/New_York',
        retryable: false,
      });
      await expect(runJob(job, { month: '2026-13' })).rejects.toMatchObject({ code: 'payload-invalid' });
    });

    it('has its tick at midnight of the first, and runs the latest of several that were missed', () => {
      const job = topUp({ timezone: 'Europe/Paris' });

      expect(job.schedules[0]).toMatchObject({
        timing: { kind: 'cron', cron: '0 0 1 * *', timezone: 'Europe/Paris' },
        policy: { misfire: 'run-once' },
        overlap: 'wait',
      });
    });

    it.skipIf(!isReal)(
      'credits each user once where many runs go at once, and loses nothing that users spend',
      async () => {
        await tables.addUsers(1, 300, 'free', 50);
        await tables.addUsers(301, 300, 'pro', 50);
        const runs = ['a', 'b', 'c', 'd'].map((id) =>
          runJob(topUp({ database: openForTest(), batchSize: 20 }), {}, { ...november, id }),
        );
        const spender = openForTest();
        for (let round = 0; round < 20; round++) {
          const some = 'id % 20 = $1';
          await spender.query(`UPDATE rondo_catalog.users SET free_credits = free_credits - 1 WHERE ${some}`, [round]);
        }
        const results = await Promise.all(runs);

        const adjustments = await tables.adjustments();
        expect(adjustments).toHaveLength(600);
        const credited = new Map(adjustments.map(({ user, amount }) => [user, amount]));
        expect(await tables.credits()).toEqual(
          Array.from({ length: 600 }, (_, index) => 49 + (credited.get(index + 1) ?? 0)),
        );
        expect(results.reduce((sum, { result }) => sum + result.users, 0)).toBe(600);
      },
    );

    it.skipIf(!isReal)(
      'undoes the batch that a stop finds, cancels its statement, and goes on from there',
      async () => {
        await tables.addUsers(1, 10, 'free', 0);
        const other = await openForTest().connect();
        await other.query('BEGIN; SELECT FROM rondo_catalog.users WHERE id = 7 FOR UPDATE');
        const ends = new AbortController();
        const job = topUp({ batchSize: 4 });
        const stopped = runJob(job, {}, { ...november, signal: ends.signal });
        const ended = expect(stopped).rejects.toThrow('the process stops');
        const waiting = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%lacking%'`;
        await eventually(async () => (await database.query(waiting)).length === 1);

        ends.abort(new Error('the process stops'));
        await ended;
        await eventually(async () => (await database.query(waiting)).length === 0);
        await other.query('ROLLBACK');
        other.release();
        expect(await tables.credits()).toEqual([100, 100, 100, 100, 0, 0, 0, 0, 0, 0]);
        expect((await runJob(job, {}, november)).result).toMatchObject({ users: 6 });
      },
    );
  });

  describe('stale-purchase-cleanup', () => {
    const now = '2026-11-21T03:30:00Z';
    const addPurchases = (rows: [id: number, status: string, updated: string][]) =>
      database.query(
        `INSERT INTO rondo_catalog.purchases (id, status, updated_at)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::timestamptz[])`,
        [rows.map(([id]) => id), rows.map(([, status]) => status), rows.map(([, , updated]) => updated)],
      );
    const left = async () => {
      const rows = await database.query<{ id: string }>('SELECT id FROM rondo_catalog.purchases ORDER BY id');
      return rows.map(({ id }) => Number(id));
    };
    const some = () =>
      addPurchases([
        [1, 'pending', '2026-11-14T03:29:59Z'],
        [2, 'pending', '2026-11-14T03:30:00Z'],
        [3, 'failed', '2020-01-01T00:00:00Z'],
        [4, 'failed', '2026-11-20T00:00:00Z'],
        [5, 'completed', '2020-01-01T00:00:00Z'],
        [6, 'pending', '2026-10-01T00:00:00Z'],
      ]);

    it('deletes what has been pending or failed for more than 7 days, in batches, and says how many', async () => {
      await some();

      const { result, log, progress } = await runJob(
        stalePurchaseCleanup({ database, batchSize: 2 }),
        {},
        { tick: now },
      );

      expect(result).toEqual({ deleted: 3, stale: 3, dryRun: false });
      expect(await left()).toEqual([2, 4, 5]);
      expect(progress).toEqual([{ deleted: 2 }, { deleted: 3 }, { deleted: 3 }]);
      expect(log).toMatchObject([{ message: '3 stale purchases are deleted', facts: { deleted: 3 } }]);
    });

    it('only counts with dryRun', async () => {
      await some();
      const job = stalePurchaseCleanup({ database, now: () => Date.parse(now) });

      const { result, log } = await runJob(job, { dryRun: true });

      expect(result).toEqual({ deleted: 0, stale: 3, dryRun: true });
      expect(log).toMatchObject([{ message: '3 stale purchases would be deleted' }]);
      expect(await left()).toHaveLength(6);
    });

    it.skipIf(!isReal)('leaves one alone that is being completed at the moment', async () => {
      await some();
      const till = await openForTest().connect();
      await till.query(`BEGIN; UPDATE rondo_catalog.purchases SET status = 'completed' WHERE id = 6`);

      const { result } = await runJob(stalePurchaseCleanup({ database }), {}, { tick: now });
      await till.query('COMMIT');
      till.release();

      expect(result).toMatchObject({ deleted: 2 });
      expect(await left()).toContain(6);
    });
  });

  it('runs in a worker, which tells no password and stops cleanly', async () => {
    await tables.addUsers(1, 2, 'free', 0);
    const env = { DATABASE_URL: server.url, RONDO_PREFIX: freshPrefix() };
    const rondo = commands(env);
    const worker = startProgram(['worker', '--jobs', 'monthly-credit-top-up'], { env });
    await rondo('jobs', 'enqueue', 'monthly-credit-top-up', '--payload', '{"month":"2026-02"}');

    const end = await worker.line(({ event }) => event === 'run.succeeded' || event === 'run.failed');
    expect(end.event).toBe('run.succeeded');
    expect(await tables.credits()).toEqual([100, 100]);
    worker.kill('SIGTERM');
    expect((await worker.exit).code).toBe(0);
    expect(JSON.stringify(worker.lines) + worker.text()).not.toContain(databasePassword);
  });
});

describe('without a DATABASE_URL, or with one that nobody answers at', () => {
  const jobs = async (url: string) => {
    const rows: { name: string; enabled: boolean; off: string | null }[] = await commands({ DATABASE_URL: url }).json(
      'jobs',
      'list',
    );
    return rows.filter(({ name }) => ['monthly-credit-top-up', 'stale-purchase-cleanup'].includes(name));
  };

  it('the jobs are listed as off, with the reason', async () => {
    const off = { enabled: false, off: 'DATABASE_URL is not set' };
    expect(await jobs('')).toMatchObject([off, off]);
  });

  it('a command lists them, and connects to nothing', async () => {
    const on = { enabled: true, off: null };
    expect(await jobs('postgres://app@127.0.0.1:1/app')).toMatchObject([on, on]);
  });
});

describe('the database of a process', () => {
  it('bounds each statement, says what failed, and serves whoever comes next', async () => {
    const own = openForTest({ poolSize: 1 });
    if (isReal) {
      const slow = own.query('SELECT pg_sleep(20)', [], { statementTimeout: 50 });
      await expect(slow).rejects.toThrow('statement timeout');
    }
    await expect(own.query('SELECT 1 / $1::int', [0])).rejects.toThrow('division by zero');
    await expect(own.query('SELECT 1 FROM rondo_catalog.nothing')).rejects.toThrow(
      'rondo db migrate creates the tables',
    );
    expect(await own.query('SELECT $1::int AS sum', [3])).toEqual([{ sum: 3 }]);
  });

  it('takes no connection for whoever is told to stop already', async () => {
    await expect(database.query('SELECT 1', [], { signal: AbortSignal.abort(new Error('stop')) })).rejects.toThrow(
      'stop',
    );
  });

  it.skipIf(!isReal)(
    'drops a connection that cannot undo what was done, with the statement it is held by',
    async () => {
      const own = openForTest({ poolSize: 1 });
      const startedAt = performance.now();
      const left = own.transaction(async (client) => {
        void client.query('SELECT pg_sleep(60) AS forgotten').catch(() => {});
        throw new Error('no more');
      });
      await expect(left).rejects.toThrow('no more');
      expect(performance.now() - startedAt).toBeLessThan(8_000);
      expect(await own.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
      const forgotten = `SELECT 1 FROM pg_stat_activity WHERE query LIKE '%forgotten%' AND pid <> pg_backend_pid()`;
      await eventually(async () => (await own.query(forgotten)).length === 0);
    },
    20_000,
  );

  it.skipIf(!isReal)('lets no abort reach whoever has the connection next', async () => {
    const own = openForTest({ poolSize: 1 });
    for (let round = 0; round < 10; round++) {
      const ends = new AbortController();
      const first = await own.connect({ signal: ends.signal });
      ends.abort(new Error('stop'));
      first.release();
      expect(await own.query('SELECT 1 AS one FROM pg_sleep(0.05)')).toEqual([{ one: 1 }]);
    }
  });

  it('takes its connections away at the deadline of a stop', async () => {
    const own = open();
    const client = await own.connect();
    const stuck = isReal ? client.query('SELECT pg_sleep(60)') : Promise.reject(new Error('one session alone'));
    const cut = expect(stuck).rejects.toThrow();
    await own.stop(Date.now());
    await cut;
    client.release();
  });

  it('tells why it cannot be reached', async () => {
    const away = createDatabase({ url: 'postgres://app:x@127.0.0.1:1/app', poolSize: 1, statementTimeout: 1_000 });
    await expect(away.query('SELECT 1')).rejects.toThrow('ECONNREFUSED');
    await away.stop(Date.now());
  });
});
