import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import { SMTPServer } from 'smtp-server';
import { takeCopies } from './pglite-copy.mjs';

const host = '127.0.0.1';

/** The real Postgres in WebAssembly, in memory, behind a socket. */
export async function startPostgres() {
  const db = await PGlite.create();
  takeCopies(db);
  const server = new PGLiteSocketServer({ db, host, port: 0, maxConnections: 20 });
  await server.start();
  const stop = async () => {
    await server.stop();
    await db.close();
  };
  return { url: `postgres://postgres@${server.getServerConn()}/postgres`, db, stop };
}

/** Fills the tables of the catalog, which are there, and makes one of its own for imports. */
export async function seed({ db }) {
  await db.exec(`
    INSERT INTO rondo_catalog.tiers VALUES ('free', 100), ('pro', 1000);
    INSERT INTO rondo_catalog.users (tier, free_credits)
      SELECT CASE WHEN n % 4 = 0 THEN 'pro' ELSE 'free' END, n % 60 FROM generate_series(1, 200) AS n;
    INSERT INTO rondo_catalog.purchases (user_id, status, updated_at)
      SELECT n, (ARRAY['pending', 'failed', 'completed'])[n % 3 + 1], now() - n * interval '6 hours'
      FROM generate_series(1, 100) AS n;
    CREATE TABLE public.orders (id integer PRIMARY KEY, country text NOT NULL, total numeric NOT NULL CHECK (total >= 0));
  `);
}

/** Takes every mail, tells of it, and sends it nowhere. */
export async function startMailServer(tell) {
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onData(stream, { envelope }, done) {
      const to = envelope.rcptTo.map(({ address }) => address).join(', ');
      let text = '';
      stream.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      stream.on('end', () => {
        tell(to, /^Subject: (.*)/m.exec(text)?.[1].trim());
        done();
      });
    },
  });
  server.on('error', () => {}); // a client that is gone
  server.listen(0, host);
  await once(server.server, 'listening');
  const stop = () => new Promise((resolve) => server.close(resolve));
  return { url: `smtp://${host}:${server.server.address().port}`, stop };
}

const pageLength = 4;
const tokens = ['Alder', 'Birch', 'Cedar', 'Elm', 'Fir', 'Hazel', 'Linden', 'Maple', 'Oak', 'Rowan'].map((name) => ({
  id: `token-${name.toLowerCase()}`,
  name,
  symbol: name.slice(0, 3).toUpperCase(),
}));
const etag = '"demo-1"';

/** `/tokens`, a list in pages that knows when it has not changed, and `/hook`, which takes what is posted. */
export async function startWebServer() {
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, `http://${host}`);
    request.resume();
    if (pathname === '/hook') return response.end('taken');
    if (pathname !== '/tokens') return response.writeHead(404).end();
    if (request.headers['if-none-match'] === etag) return response.writeHead(304).end();
    const from = Number(searchParams.get('from') ?? 0);
    const to = from + pageLength;
    const page = { items: tokens.slice(from, to), next: to < tokens.length ? `/tokens?from=${to}` : null };
    response.writeHead(200, { 'content-type': 'application/json', etag }).end(JSON.stringify(page));
  });
  server.listen(0, host);
  await once(server, 'listening');
  const stop = async () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://${host}:${server.address().port}`, stop };
}

/** Of the orders the database refuses one, which is why rejects are asked for. */
const files = {
  'in/orders.csv': `id,country,total
1,FR,120.50
2,DE,80
3,FR,15.25
4,US,999
5,DE,-5
6,US,100
7,PT,42
8,FR,310
`,
  'queries/orders-above.sql': 'SELECT id, country, total FROM public.orders WHERE total > $1 ORDER BY total DESC\n',
};

export async function writeDataFolder() {
  const path = mkdtempSync(join(tmpdir(), 'rondo-demo-'));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(path, dirname(name)), { recursive: true });
    await writeFile(join(path, name), text);
  }
  return { path, stop: async () => rmSync(path, { recursive: true, force: true }) };
}
