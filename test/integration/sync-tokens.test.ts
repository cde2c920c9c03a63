import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { syncTokens } from '../../src/jobs/catalog/sync-tokens.js';
import { createDatabase } from '../../src/postgres/database.js';
import { migrate } from '../../src/postgres/migrate.js';
import { type LeftByRun, runJob } from '../../src/testing/index.js';
import { listen } from '../support/http.js';
import { postgresPrograms, startPostgres } from '../support/postgres.js';

describe.skipIf(postgresPrograms() === null)('sync-tokens', () => {
  let server: Awaited<ReturnType<typeof startPostgres>>;
  let database: ReturnType<typeof createDatabase>;

  beforeAll(async () => {
    server = await startPostgres(String(postgresPrograms()));
    const url = `postgres://postgres@/postgres?host=${server.folder}`;
    await migrate(url);
    database = createDatabase({ url, poolSize: 2, statementTimeout: 20_000 });
  });
  afterAll(async () => {
    await database?.stop(Date.now() + 1_000);
    await server?.stop();
  });
  beforeEach(() => database.query('TRUNCATE rondo_catalog.tokens, rondo_catalog.token_syncs'));

  const ids = async () =>
    (await database.query<{ id: string }>('SELECT id FROM rondo_catalog.tokens ORDER BY id')).map(({ id }) => id);
  const jobFor = (url: string) => syncTokens({ url, database, batchSize: 2 });

  it('takes a list over page by page, and leaves what it knows as it is', async () => {
    const list = await serve({
      '/list': { body: { items: tokens('a', 'b', 'c'), next: '/list?page=2' } },
      '/list?page=2': { body: tokens('c', 'd'), link: '</list?page=3>; rel="next"' },
      '/list?page=3': { body: tokens('e') },
    });
    await database.query(`INSERT INTO rondo_catalog.tokens (id, name, symbol) VALUES ('b', 'mine', 'M')`);

    const { result, progress } = await runJob(jobFor(`${list.url}/list`), {});
    expect(result).toEqual({ unchanged: false, pages: 3, new: 4, known: 2, invalid: 0 });
    expect(progress).toHaveLength(3);
    expect(await ids()).toEqual(['a', 'b', 'c', 'd', 'e']);
    const rows = await database.query(`SELECT name, data FROM rondo_catalog.tokens WHERE id IN ('b', 'd') ORDER BY id`);
    expect(rows).toEqual([
      { name: 'mine', data: {} },
      { name: 'Token d', data: { decimals: 18 } },
    ]);
  });

  it('counts what is invalid and tells of the first ten', async () => {
    const wrong = Array.from({ length: 12 }, (_, index) => ({ id: `w${index}`, name: 'no symbol' }));
    const unkeepable = [
      { ...tokens('x')[0], more: 'a\0b' },
      { ...tokens('y')[0], more: '\ud800' },
    ];
    const list = await serve({ '/': { body: [...tokens('a'), ...unkeepable, 'text', ...wrong] } });

    const { result, log } = await runJob(jobFor(list.url), {});
    expect(result).toMatchObject({ new: 1, invalid: 15 });
    expect(log.filter(({ level }) => level === 'warn')).toHaveLength(10);
    expect(log.at(3)?.facts).toMatchObject({ page: 1, item: 5, problems: [expect.stringMatching(/^symbol: /)] });
    expect(await ids()).toEqual(['a']);
  });

  it('goes on at the page where it failed', async () => {
    const pages: Pages = {
      '/list': { body: { items: tokens('a', 'b'), next: '/two' }, etag: '"1"' },
      '/two': { body: tokens('c'), status: 503 },
    };
    const list = await serve(pages);
    const left: LeftByRun = {};
    await expect(runJob(jobFor(`${list.url}/list`), {}, { left })).rejects.toThrow('the list answered 503');
    pages['/two'] = { body: tokens('c') };

    const { result } = await runJob(jobFor(`${list.url}/list`), {}, { left, attempt: 2 });
    expect(result).toMatchObject({ pages: 2, new: 3, known: 0 });
    expect(list.asked).toEqual(['/list', '/two', '/two']);
    expect((await runJob(jobFor(`${list.url}/list`), {})).result).toMatchObject({ unchanged: true });
  });

  it('asks for nothing more where the list is the same as when it was last taken as a whole', async () => {
    const pages: Pages = { '/': { body: tokens('a'), etag: 'W/"1"' } };
    const list = await serve(pages);
    expect((await runJob(jobFor(list.url), {})).result).toMatchObject({ unchanged: false, new: 1 });
    expect((await runJob(jobFor(list.url), {})).result).toEqual({
      ...{ unchanged: true, pages: 0, new: 0, known: 0, invalid: 0 },
    });
    pages['/'] = { body: tokens('a', 'b'), etag: 'W/"2"' };
    expect((await runJob(jobFor(list.url), {})).result).toMatchObject({ unchanged: false, new: 1, known: 1 });
  });

  it.each([
    ['a next page of another origin', { body: { items: [], next: 'http://other.example/' } }, /another origin/, false],
    ['a page behind itself', { body: { items: [], next: '/' } }, /the same page/, false],
    ['a redirect', { body: [], status: 302 }, /answered 302/, false],
    ['what is no list', { body: { tokens: [] } }, /neither a JSON array/, false],
    ['a page that is too long', { body: 'x'.repeat(8 * 1_024 * 1_024) }, /more than 8388608 bytes/, false],
    ['a body that is cut off', { text: '[{"id":' }, /no JSON/, undefined],
    ['a server in trouble', { body: [], status: 500 }, /answered 500/, undefined],
  ])('refuses %s', async (_, page, message, retryable) => {
    const list = await serve({ '/': page });
    const error = await runJob(jobFor(list.url), {}).catch((thrown) => thrown);
    expect(error.message).toMatch(message);
    expect(error.retryable).toBe(retryable);
  });

  it('leaves off when its signal aborts', async () => {
    const list = await serve({ '/': { body: [], silent: true } });
    const stop = new AbortController();
    const running = runJob(jobFor(list.url), {}, { signal: stop.signal });
    running.catch(() => {});
    await list.first;
    stop.abort(new Error('stopped'));
    await expect(running).rejects.toThrow('stopped');
  });

  it('is off without an address or a database, and says which', () => {
    expect(syncTokens({ database })).toMatchObject({ enabled: false, off: 'TOKENS_URL is not set' });
    expect(syncTokens({ url: 'http://x' })).toMatchObject({ enabled: false, off: 'DATABASE_URL is not set' });
    expect(syncTokens({ url: 'http://x', database })).toMatchObject({ enabled: true, problems: [] });
  });
});

interface Page {
  readonly body?: unknown;
  readonly text?: string;
  readonly status?: number;
  readonly link?: string;
  readonly etag?: string;
  readonly silent?: boolean;
}

type Pages = Record<string, Page>;

async function serve(pages: Pages) {
  const asked: string[] = [];
  let tell = () => {};
  const first = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const { url } = await listen((request, response) => {
    const {
      status = 200,
      body,
      text = JSON.stringify(body),
      link,
      etag,
      silent,
    } = pages[request.url ?? ''] ?? { status: 404 };
    asked.push(request.url ?? '');
    tell();
    if (silent) return;
    const same = etag !== undefined && request.headers['if-none-match'] === etag;
    response.writeHead(same ? 304 : status, { ...(link && { link }), ...(etag && { etag }) });
    response.end(same ? undefined : text);
  });
  return { url, asked, first };
}

function tokens(...names: string[]) {
  return names.map((id) => ({ id, name: `Token ${id}`, symbol: id.toUpperCase(), decimals: 18 }));
}
