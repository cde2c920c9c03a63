import { execFile, spawn } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from './harness.js';
import { postgresQuery } from './postgres-query.mjs';

const run = promisify(execFile);
/** Postgres refuses to run as root: where we are, it runs as nobody. */
const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

/** Where the programs of a PostgreSQL are; null where none is installed. */
export function postgresPrograms(): string | null {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [...versions.map((version) => join(root, version, 'bin')), '/usr/local/bin', '/usr/bin'];
  return (
    folders.find((folder) => ['initdb', 'postgres', 'psql'].every((name) => existsSync(join(folder, name)))) ?? null
  );
}

export const databasePassword = 'hush-hush';

/** A PostgreSQL of the test's own, on a socket in a folder of its own; both are gone when it is stopped. */
export async function startPostgres(programs: string) {
  const folder = mkdtempSync('/tmp/rondo-pg-'); // short: a socket's path has at most 107 letters
  const data = join(folder, 'data');
  if (nobody.uid !== undefined) chownSync(folder, nobody.uid, nobody.gid);
  const initial = ['-D', data, '-U', 'postgres', '--auth=trust', '--no-sync', '--encoding=UTF8', '--locale=C'];
  await run(join(programs, 'initdb'), initial, { ...nobody, cwd: folder, timeout: 60_000 });
  const settings = ['-c', 'listen_addresses=', '-c', `unix_socket_directories=${folder}`, '-c', 'fsync=off'];
  const server = spawn(join(programs, 'postgres'), ['-D', data, ...settings], {
    ...nobody,
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  server.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const exit = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const stop = async () => {
    server.kill('SIGQUIT'); // at once
    await exit;
    rmSync(folder, { recursive: true, force: true });
  };
  await eventually(() => said.includes('ready to accept connections'), 30_000).catch(async (error) => {
    await stop();
    throw new Error(`${error.message}\n${said}`);
  });
  // It lets everybody in: the password is there to be found where it must not be.
  const url = `postgres://postgres:${databasePassword}@/postgres?host=${folder}`;
  return { folder, url, query: postgresQuery(folder), stop };
}

/** PostgreSQL where it is installed, else PGlite, which has one session for all who connect. */
export async function startDatabase(): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const programs = postgresPrograms();
  if (programs) {
    console.log(`tests of what keeps to a Postgres run on PostgreSQL from ${programs}`);
    return startPostgres(programs);
  }
  console.warn('tests of what keeps to a Postgres run on PGlite, since no PostgreSQL is installed here');
  console.warn('SKIPPED: those of runs at once, of locks and of statements that are cancelled');
  return startPglite();
}

/** The real Postgres in WebAssembly, behind a socket. */
export async function startPglite() {
  const [{ PGlite }, { PGLiteSocketServer }] = await Promise.all([
    import('@electric-sql/pglite'),
    import('@electric-sql/pglite-socket'),
  ]);
  const db = await PGlite.create();
  const server = new PGLiteSocketServer({ db, port: 0, host: '127.0.0.1', maxConnections: 20 });
  await server.start();
  const stop = async () => {
    await server.stop();
    await db.close();
  };
  return { url: `postgres://postgres:${databasePassword}@${server.getServerConn()}/postgres`, stop };
}
