import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const program = fileURLToPath(new URL('../../bin/rondo', import.meta.url));
const readyMs = 60_000;
/** Of the shell's own environment no more than these, so that no setting of another service comes along. */
const kept = ['PATH', 'HOME', 'TMPDIR', 'TERM', 'NO_COLOR', 'FORCE_COLOR', 'REDIS_URL'];

/** The settings of a service among these surroundings; with an embedded Valkey unless REDIS_URL names a server. */
export async function demoSettings({ postgres, mail, web, folder }) {
  return {
    ...Object.fromEntries(kept.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : []))),
    RONDO_APP: 'rondo-demo',
    RONDO_PREFIX: 'rondo-demo',
    RONDO_API_KEYS: `demo:${randomBytes(18).toString('base64url')}:admin`,
    RONDO_PING: 'on',
    PORT: String(await freePort(3_000)),
    LOG_LEVEL: 'warn',
    SHUTDOWN_GRACE: '2s',
    DATABASE_URL: postgres.url,
    SMTP_URL: mail.url,
    MAIL_FROM: 'Demo <demo@example.com>',
    TOKENS_URL: `${web.url}/tokens`,
    HTTP_REQUEST_ALLOW: '127.0.0.1',
    DATA_FOLDER: folder.path,
    DATA_IMPORT_TABLES: 'orders',
  };
}

/** What the command line says of the database where it fails. */
export async function migrate(env) {
  await promisify(execFile)(process.execPath, [program, 'db', 'migrate'], { env }).catch(({ message, stderr }) => {
    throw new Error(stderr || message);
  });
}

/** All roles in a process of their own, ready to take runs; `end` aborts when they are gone. */
export async function startRondo(env, end) {
  const child = spawn(process.execPath, [program, 'start'], { env, stdio: ['ignore', 'inherit', 'inherit'] });
  const exit = once(child, 'exit').then(([code, signal]) => {
    end.abort(new Error(`rondo start has ended with ${signal ?? code}`));
  });
  const stop = async () => {
    child.kill();
    await exit;
  };
  const url = `http://127.0.0.1:${env.PORT}`;
  await untilReady(url, end.signal).catch(async (error) => {
    await stop();
    throw error;
  });
  return { url, key: env.RONDO_API_KEYS.split(':')[1], stop };
}

async function untilReady(url, signal) {
  const deadline = Date.now() + readyMs;
  const isReady = async () => (await fetch(`${url}/readyz`, { signal })).ok;
  while (!(await isReady().catch(() => false))) {
    signal.throwIfAborted();
    if (Date.now() > deadline) throw new Error(`rondo start is not ready within ${readyMs / 1_000} s`);
    await sleep(50);
  }
}

/** The port, or another where somebody has it. */
async function freePort(preferred) {
  const probe = createServer();
  probe.listen(preferred, '127.0.0.1');
  const isFree = await once(probe, 'listening').then(
    () => true,
    () => false,
  );
  if (!isFree) return freePort(0);
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}
