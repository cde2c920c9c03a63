import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { ask } from '../../src/jobs/catalog/process-data/queries.js';
import type { Database } from '../../src/jobs/database.js';
import { createDatabase } from '../../src/postgres/database.js';
import { dataFolder } from '../support/data-folder.js';
import { eventually } from '../support/harness.js';
import { startTarget } from '../support/http.js';
import { postgresPrograms, startPostgres } from '../support/postgres.js';

const programs = postgresPrograms();
if (!programs) console.warn('process-data beside Postgres: SKIPPED, for no PostgreSQL is installed');

describe.skipIf(!programs)('process-data beside Postgres', () => {
  let server: Awaited<ReturnType<typeof startPostgres>>;
  let tables = 0;

  beforeAll(async () => {
    server = await startPostgres(String(programs));
  }, 60_000);
  afterAll(() => server?.stop());

  /** A folder, the job with a Postgres, and a table of its own where some is wanted. */
  async function setUp(
    columns = 'id int primary key, name text, total numeric check (total >= 0), at timestamptz',
    as: (database: Database) => Pick<Database, 'transaction'> = (database) => database,
  ) {
    const url = `postgres://postgres@/postgres?host=${server.folder}`;
    const database = createDatabase({ url, poolSize: 3, statementTimeout: 30_000 });
    onTestFinished(() => database.stop(Date.now() + 5_000));
    tables++;
    const table = `orders_${tables}`;
    await database.query(`create table ${table} (${columns})`);
    const folder = dataFolder({
      database: as(database),
      importTables: [table, 'Odd "name.T', 'nowhere'],
      allow: ['127.0.0.1'],
    });
    const rows = () => database.query<Record<string, unknown>>(`select * from ${table} order by 1`);
    return { ...folder, database, table, rows, query: database.query };
  }

  const parsed = (text: string) =>
    text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));

  describe('export', () => {
    it('writes the rows of a query that lies in the folder, with its parameters', async () => {
      const { put, run, text } = await setUp();
      put('queries/numbers.sql', "select n, 'x' || n as name, n > $1::int as large from generate_series(1, 250) n;\n");
      const to = { file: 'out/numbers.csv.gz' };
      const { result } = await run({ operation: 'export', query: 'numbers', parameters: [249], to });
      const lines = text('out/numbers.csv.gz').split('\n');
      expect([lines.length, ...lines.slice(0, 2), ...lines.slice(-3)]).toEqual([
        252,
        'n,name,large',
        '1,x1,false',
        '249,x249,false',
        '250,x250,true',
        '',
      ]);
      expect(result).toMatchObject({ rowsRead: 250, rowsWritten: 250, file: 'out/numbers.csv.gz' });
    });

    it('keeps what JavaScript would round or move: microseconds, days, large numbers; and JSON as it is', async () => {
      const { put, run, text } = await setUp();
      put(
        'queries/types.sql',
        `select timestamptz '2026-03-29 02:30:00.123456+02' as at, date '2026-01-01' as day, 9007199254740993 as big,
          1.10::numeric as price, array[1.10, null, 12345678901234567890.5] as prices, '{"a":[1]}'::jsonb as doc, array[1,2] as list, null as nothing, '\\x00ff'::bytea as raw`,
      );
      await run({ operation: 'export', query: 'types', to: { file: 'types.ndjson' } });
      expect(parsed(text('types.ndjson'))).toEqual([
        {
          ...{ at: '2026-03-29 00:30:00.123456+00', day: '2026-01-01', big: '9007199254740993', price: '1.10' },
          prices: ['1.10', null, '12345678901234567890.5'],
          ...{ doc: { a: [1] }, list: [1, 2], nothing: null, raw: '\\x00ff' },
        },
      ]);
    });

    it('keeps the header where there are no rows', async () => {
      const { put, run, text } = await setUp();
      put('queries/none.sql', 'select 1 as a, 2 as b where false');
      await run({ operation: 'export', query: 'none', to: { file: 'none.csv' } });
      expect(text('none.csv')).toBe('a,b\n');
    });

    it.each([
      ['writes', 'insert into TABLE values (1)', 'read-only transaction'],
      ['is two statements', 'select 1; commit', 'multiple commands'],
      ['is wrong', 'selec 1', 'syntax error'],
      [
        'fails in the midst of its rows',
        'select 1 / (500 - n) as x from generate_series(1, 1000) n',
        'division by zero',
      ],
      ['answers a column twice', 'select 1 as a, 2 as a', 'two columns "a"'],
      [
        'answers a column twice, with rows to come',
        'select n as a, n as a from generate_series(1, 1000) n',
        'two columns "a"',
      ],
    ])('refuses for good a query that %s, and leaves no file', async (_, sql, reason) => {
      const { put, run, rows, files, table } = await setUp();
      put('queries/bad.sql', sql.replace('TABLE', table));
      const refused = await run({ operation: 'export', query: 'bad', to: { file: 'out.csv' } }).catch((error) => error);
      expect(refused).toMatchObject({ retryable: false, message: expect.stringContaining(reason) });
      expect(refused.message).toContain('queries/bad.sql');
      expect(await rows()).toEqual([]);
      expect(files()).toEqual(['queries/bad.sql']);
    });

    it('is over at once where its rows can be written nowhere, with more to come', async () => {
      const { database, query } = await setUp();
      const text = 'select n as unwritten from generate_series(1, 100000) n';
      const full = database.transaction(async (client) => {
        const { batches } = await ask(client, { name: 'many', text, parameters: [] });
        for await (const _ of batches) throw new Error('ENOSPC');
      });
      await expect(full).rejects.toThrow('ENOSPC');
      const open = "select 1 from pg_stat_activity where query like '%unwritten%' and pid <> pg_backend_pid()";
      expect(await query(open)).toEqual([]);
    });

    it('is tried again where there is no such query yet', async () => {
      const { run } = await setUp();
      const refused = run({ operation: 'export', query: 'missing', to: { file: 'out.csv' } });
      await expect(refused).rejects.toThrow('queries/missing.sql does not exist');
    });

    it.each(['cancelled', 'cut off from Postgres'])(
      'that is %s leaves no file, and no query that goes on',
      async (how) => {
        const { put, run, files, query } = await setUp();
        put('queries/slow.sql', 'select n, pg_sleep(0.01) from generate_series(1, 100000) n');
        const stop = new AbortController();
        const running = run({ operation: 'export', query: 'slow', to: { file: 'out.csv' } }, { signal: stop.signal });
        const reason = running.catch((error) => error);
        const active = () =>
          query<{ pid: number }>(
            "select pid from pg_stat_activity where state = 'active' and query like '%pg_sleep(0.01)%' and pid <> pg_backend_pid()",
          );
        const [backend] = await eventually(async () => {
          const backends = await active();
          return backends.length > 0 && backends;
        });
        if (how === 'cancelled') stop.abort(new Error('cancelled'));
        else await query('select pg_terminate_backend($1)', [backend?.pid]);
        expect(await reason).toBeInstanceOf(Error);
        await eventually(async () => (await active()).length === 0);
        await eventually(() => files().length === 1);
      },
    );
  });

  describe('import', () => {
    it('fills a table from CSV, with empty fields as null', async () => {
      const { put, run, rows, table } = await setUp();
      put('in.csv', 'id,total,name\n1,1.50,"a, ""b""\nc"\n2,,\n3,0,\\N\n');
      const { result } = await run({ operation: 'import', from: { file: 'in.csv' }, table });
      expect(await rows()).toEqual([
        { id: 1, name: 'a, "b"\nc', total: '1.50', at: null },
        { id: 2, name: null, total: null, at: null },
        { id: 3, name: '\\N', total: '0', at: null },
      ]);
      expect(result).toEqual({ rowsRead: 3, rowsWritten: 3, rowsRejected: 0, file: null, bytesWritten: null });
    });

    it('takes the fields that are asked for to the columns that they are asked for, and filters', async () => {
      const { put, run, rows, table } = await setUp('id int, doc jsonb, "odd ""one" text');
      put('in.ndjson', '{"key":1,"doc":{"a":[1]},"x":"y","more":1}\n{"key":2,"x":"z"}\n{"key":3}\n');
      const columns = { key: 'id', doc: 'doc', x: 'odd "one' };
      const where = [{ field: 'x', is: 'exists' }];
      await run({ operation: 'import', from: { file: 'in.ndjson' }, table, columns, where });
      expect(await rows()).toEqual([
        { id: 1, doc: { a: [1] }, 'odd "one': 'y' },
        { id: 2, doc: null, 'odd "one': 'z' },
      ]);
    });

    it('sets aside what Postgres refuses of it, row by row, and keeps the others', async () => {
      const { put, run, rows, text, table } = await setUp();
      const lines = Array.from({ length: 40 }, (_, index) => `${index + 1},n${index + 1},${index}`);
      lines[4] = 'five,n,1';
      lines[9] = '9,twice,1';
      lines[20] = '21,n,-1';
      lines[30] = '31,nul\0,1';
      put('in.csv', `id,name,total\n${lines.join('\n')}\n`);
      const rejects = { file: 'bad.ndjson' };
      const { result } = await run({ operation: 'import', from: { file: 'in.csv' }, table, rejects });
      expect(result).toMatchObject({ rowsRead: 40, rowsWritten: 36, rowsRejected: 4 });
      expect(await rows()).toHaveLength(36);
      const bad = parsed(text('bad.ndjson'));
      expect(bad.map(({ row }) => row)).toEqual([5, 10, 21, 31]);
      expect(bad.map(({ reason }) => reason)).toEqual([
        'invalid input syntax for type integer: "five"',
        expect.stringContaining('duplicate key'),
        expect.stringContaining('check constraint'),
        expect.stringContaining('0x00'),
      ]);
      expect(bad[0].came).toEqual({ id: 'five', name: 'n', total: '1' });
    });

    it('is all or nothing: beyond the limit no row stays, and no file of rejects', async () => {
      const { put, run, rows, files, table } = await setUp();
      put('in.csv', `id\n${Array.from({ length: 30_000 }, (_, id) => id).join('\n')}\nx\ny\n`);
      const rejects = { file: 'bad.ndjson', limit: 1 };
      const refused = run({ operation: 'import', from: { file: 'in.csv' }, table, rejects });
      await expect(refused).rejects.toMatchObject({ retryable: false, message: expect.stringContaining('row 30002') });
      expect(await rows()).toEqual([]);
      expect(files()).toEqual(['in.csv']);
    });

    it('refuses tables and columns that are not there, before it begins', async () => {
      const { put, run, table } = await setUp('id int, twice int generated always as (id * 2) stored');
      put('in.csv', 'id,twice\n1,2\n');
      const into = (name: string) => run({ operation: 'import', from: { file: 'in.csv' }, table: name });
      await expect(into(table)).rejects.toThrow(`the table ${table} has no column "twice"`);
      await expect(into('nowhere')).rejects.toThrow('there is no table public.nowhere');
      await expect(into('pg_class')).rejects.toThrow('DATA_IMPORT_TABLES');
    });

    it('that is stopped once its rows are there for good is done, and not to be begun anew', async () => {
      const stop = new AbortController();
      const { put, run, rows, table } = await setUp('id int', (database) => ({
        async transaction(work, bounds) {
          const result = await database.transaction(work, bounds);
          stop.abort(new Error('the process stops'));
          return result;
        },
      }));
      put('in.csv', 'id\n1\n');
      const from = { file: 'in.csv' };
      const { result } = await run({ operation: 'import', from, table }, { signal: stop.signal });
      expect(result).toMatchObject({ rowsWritten: 1 });
      expect(await rows()).toEqual([{ id: 1 }]);
    });

    it('quotes whatever a table is called', async () => {
      const { put, run, query } = await setUp();
      await query('create schema "Odd ""name"');
      await query('create table "Odd ""name"."T" (id int)');
      put('in.csv', 'id\n1\n');
      await run({ operation: 'import', from: { file: 'in.csv' }, table: 'Odd "name.T' });
      expect(await query('select * from "Odd ""name"."T"')).toEqual([{ id: 1 }]);
    });

    it.each(['cancelled', 'cut off from Postgres'])('that is %s midway leaves no row, and no lock', async (how) => {
      const target = await startTarget((_request, response) => {
        response.write(`id\n${Array.from({ length: 40_000 }, (_, id) => id).join('\n')}\n`); // and no end
      });
      const { run, rows, files, query, table } = await setUp();
      const stop = new AbortController();
      const from = { url: `${target.url}/in.csv` };
      const rejects = { file: 'bad.ndjson' };
      const running = run({ operation: 'import', from, table, rejects }, { signal: stop.signal }).catch(
        (error) => error,
      );
      const copying = () =>
        query<{ pid: number }>(
          `select pid from pg_stat_activity join pg_locks using (pid)
            where relation = '${table}'::regclass and mode = 'RowExclusiveLock'`,
        );
      const [holder] = await eventually(async () => {
        const holders = await copying();
        return holders.length > 0 && holders;
      });
      if (how === 'cancelled') stop.abort(new Error('cancelled'));
      else await query('select pg_terminate_backend($1)', [holder?.pid]);
      if (how !== 'cancelled') target.server.closeAllConnections();
      expect(await running).toBeInstanceOf(Error);
      await eventually(async () => (await copying()).length === 0);
      expect(await rows()).toEqual([]);
      await eventually(() => files().length === 0);
    });
  });
});
