import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { alternate, report } from './compare.mjs';
import { ms } from './quick.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const idleMs = ms(10_000);

/** What a newcomer waits for, and what an idle worker costs. */
export async function processes(url) {
  const { REDIS_URL: _ours, ...env } = process.env;
  console.log('`npm start` with the embedded server, until the first run has succeeded:');
  report(await alternate({ 'first run': () => firstRun(env) }), 'ms');
  console.log(`\na worker process that has idled for ${idleMs / 1_000} s:`);
  report(await alternate({ 'resident memory': () => idleMemory({ ...env, REDIS_URL: url }) }), 'MB', 1);
}

async function firstRun(env) {
  const startedAt = performance.now();
  const child = spawn('npm', ['start'], { cwd: root, env, stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  await line(child, '"run.succeeded"');
  const tookMs = performance.now() - startedAt;
  process.kill(-child.pid, 'SIGINT');
  await once(child, 'close');
  return tookMs;
}

async function idleMemory(env) {
  const child = spawn(process.execPath, ['bin/rondo', 'worker'], {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await line(child, 'worker started');
  await new Promise((resolve) => setTimeout(resolve, idleMs));
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  child.kill('SIGTERM');
  await once(child, 'close');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1_024;
}

async function line(child, text) {
  for await (const written of createInterface({ input: child.stdout })) if (written.includes(text)) return;
  throw new Error(`the process ended before it said ${text}`);
}
