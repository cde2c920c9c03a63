import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { listProcesses } from '../../src/producers/processes.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { eventually, type Fixture, fixture } from '../support/harness.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { hasTerminal, type Line, type Program, startOnTerminal, startProgram } from '../support/processes.js';
import { prompt } from '../support/prompt.js';

const isEvent = (event: string, facts: Partial<Line> = {}) => {
  const wanted = Object.entries({ event, ...facts });
  return (line: Line) => wanted.every(([key, value]) => line[key] === value);
};
const started = (line: Line) => /started, with Redis at/.test(line.msg ?? '');
const stopping = (line: Line) => line.msg?.startsWith('stopping') ?? false;

describe('rondo start, without any setting', () => {
  it('has run the heartbeat within 5 s, and says so in JSON where nobody looks at a terminal', prompt, async () => {
    const startedAt = Date.now();
    const program = startEmbedded();

    const line = await program.line(isEvent('run.succeeded', { job: 'heartbeat' }));

    const tookMs = Date.parse(String(line.time)) - startedAt;
    expect(tookMs).toBeLessThan(5_000);
    expect(program.text()).toBe('');
  });

  it('says where it is and with which key one signs in, however quiet the log is to be', prompt, async () => {
    const program = startEmbedded({ LOG_LEVEL: 'silent' });

    await program.line(({ msg }) => /^sign in with this key/.test(msg ?? ''));
    await program.line(({ msg }) => /Redis at redis:.*embedded/.test(msg ?? ''));

    expect(program.lines.map(({ msg }) => msg?.split(' ').slice(0, 3).join(' '))).toEqual([
      ...['the board is', 'sign in with', 'worker and producer'],
    ]);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('stops cleanly at a %s, and leaves no process behind', async (signal) => {
    const program = startEmbedded();
    await program.line(isEvent('run.succeeded'));
    const children = childrenOf(program);
    expect(children).toHaveLength(1);

    program.kill(signal);

    expect(await program.exit).toEqual({ code: 0, signal: null });
    expect(children.filter(isAlive)).toEqual([]);
    expect(program.lines.find(stopping)).toMatchObject({ msg: 'stopping: what runs may go on for 25s' });
    expect(program.lines.at(-1)).toMatchObject({ msg: 'stopped' });
    expect(program.text()).toBe('');
  });

  it('takes its embedded server along within 3 s when it is killed', prompt, async () => {
    const program = startEmbedded();
    const line = await program.line(started);
    const [url = ''] = /redis:\/\/\S+/.exec(line.msg ?? '') ?? [];
    const redis = new Redis(url, { retryStrategy: () => null });
    onTestFinished(() => redis.disconnect());
    redis.on('error', () => {});
    expect(await redis.ping()).toBe('PONG');

    const gone = new Promise<number>((resolve) => redis.once('end', () => resolve(Date.now())));
    const killedAt = Date.now();
    program.kill('SIGKILL');

    expect((await gone) - killedAt).toBeLessThan(3_000);
    await expect(redis.connect()).rejects.toThrow();
  });

  it('ends within 15 s, with exit code 1 and a word in the log, when its embedded server does', prompt, async () => {
    const program = startEmbedded();
    await program.line(started);
    const [server = 0] = childrenOf(program);

    const endedAt = performance.now();
    process.kill(server, 'SIGKILL');

    expect(await program.exit).toEqual({ code: 1, signal: null });
    expect(performance.now() - endedAt).toBeLessThan(15_000);
    const reason = expect.stringContaining('was ended by SIGKILL');
    expect(program.lines.filter(isEvent('process.crashed'))).toMatchObject([{ code: 'embedded-unavailable', reason }]);
    expect(program.stderr().match(/was ended by SIGKILL/g)).toHaveLength(1);
  });

  it.skipIf(!hasTerminal())('writes readable lines on a terminal, and ends with a Ctrl-C', async () => {
    const terminal = startOnTerminal('start', { env: { REDIS_URL: '' } });
    await eventually(() => terminal.screen().includes('heartbeat: alive'));

    terminal.type('\u0003');

    expect(await terminal.exit).toBe(0);
    const lines = terminal.screen().split('\n').map(withoutColours).filter(Boolean);
    const logged = lines.filter((line) => !line.startsWith('^C['));
    for (const line of logged) expect(line).toMatch(/^\[\d\d:\d\d:\d\d\.\d{3}\] (INFO|WARN): \S/);
    expect(logged.at(-1)).toMatch(/INFO: stopped$/);
  });

  if (!hasTerminal()) console.log('SKIPPED: rondo on a terminal, since there is no `script` of util-linux here');

  function startEmbedded(env = {}) {
    return startProgram(['start'], { env: { REDIS_URL: '', ...env } });
  }
});

/** Runs write what they live through into a file beside the module; the payload says what they do. */
const workshop = `
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
const note = (line) => appendFileSync(new URL('notes', import.meta.url), line + '\\n');
const job = (name) => defineJob({
  name,
  payload: z.object({ seconds: z.number().default(0), heedful: z.boolean().default(false) }),
  retry: { attempts: 1 },
  async run({ payload, run, signal }) {
    note(['begin', run.job, run.id, run.attempt].join(' '));
    signal.addEventListener('abort', () => note(['abort', run.job, run.id, signal.reason.code].join(' ')));
    await sleep(payload.seconds * 1_000, null, payload.heedful ? { signal } : {});
    note(['end', run.job, run.id, run.attempt].join(' '));
  },
});
export default [job('saw'), job('plane'), job('glue')];
`;

describe('a stop', () => {
  it('lets a run finish within SHUTDOWN_GRACE, and exits with 0', async () => {
    const shop = await openWorkshop();
    const id = await shop.enqueue('saw', { seconds: 1.5, heedful: true });
    const worker = shop.start(['worker']);
    await shop.noted(`begin saw ${id} 1`);

    worker.kill('SIGTERM');

    expect(await worker.exit).toEqual({ code: 0, signal: null });
    expect(shop.notes()).toEqual([`begin saw ${id} 1`, `end saw ${id} 1`]);
    expect(await shop.find('saw', id)).toMatchObject({ state: 'completed', attempts: 1 });
  });

  it('then aborts its signal and puts it back without costing an attempt', prompt, async () => {
    const shop = await openWorkshop();
    const id = await shop.enqueue('saw', { seconds: 60, heedful: true });
    const worker = shop.start(['worker'], { SHUTDOWN_GRACE: '500ms' });
    await shop.noted(`begin saw ${id} 1`);

    const stoppedAt = performance.now();
    worker.kill('SIGTERM');

    expect(await worker.exit).toEqual({ code: 0, signal: null });
    const tookMs = performance.now() - stoppedAt;
    expect(tookMs).toBeGreaterThan(500);
    expect(tookMs).toBeLessThan(500 + 5_000);
    expect(worker.lines.filter(isEvent('run.interrupted'))).toMatchObject([{ run: id }]);
    expect(shop.notes()).toEqual([`begin saw ${id} 1`, `abort saw ${id} run-interrupted`]);
    expect(await shop.find('saw', id)).toMatchObject({ state: 'waiting', attempts: 0, maxAttempts: 1, error: null });

    shop.start(['worker']);
    await shop.noted(`begin saw ${id} 1`, 2);
  });

  it('is not held up by runs that ignore their signal', prompt, async () => {
    const shop = await openWorkshop();
    const ids = await Promise.all([1, 2, 3].map(() => shop.enqueue('saw', { seconds: 60 })));
    const worker = shop.start(['worker'], { SHUTDOWN_GRACE: '200' });
    for (const id of ids) await shop.noted(`begin saw ${id} 1`);

    const stoppedAt = performance.now();
    worker.kill('SIGINT');

    expect(await worker.exit).toEqual({ code: 0, signal: null });
    expect(performance.now() - stoppedAt).toBeLessThan(200 + 5_000);
    for (const id of ids) expect(await shop.find('saw', id)).toMatchObject({ state: 'waiting', attempts: 0 });
  });

  it('takes two SIGINTs in a row for one, as npm passes on a Ctrl-C that the terminal has sent already', async () => {
    const shop = await openWorkshop();
    const id = await shop.enqueue('saw', { seconds: 1.5 });
    const worker = shop.start(['worker']);
    await shop.noted(`begin saw ${id} 1`);

    worker.kill('SIGINT');
    await sleep(10);
    worker.kill('SIGINT');

    expect(await worker.exit).toEqual({ code: 0, signal: null });
    expect(shop.notes()).toContain(`end saw ${id} 1`);
  });

  it.each([
    { signal: 'SIGINT', code: 130 },
    { signal: 'SIGTERM', code: 143 },
  ] as const)('ends at once at a second $signal, with $code', prompt, async ({ signal, code }) => {
    const shop = await openWorkshop();
    const id = await shop.enqueue('saw', { seconds: 60 });
    const worker = shop.start(['worker']);
    await shop.noted(`begin saw ${id} 1`);
    worker.kill('SIGTERM');
    await worker.line(stopping);

    await sleep(600); // what comes sooner counts as the first signal's echo
    const askedAt = performance.now();
    worker.kill(signal);

    expect(await worker.exit).toEqual({ code, signal: null });
    expect(performance.now() - askedAt).toBeLessThan(2_000);
  });
});

describe('processes of one role each', () => {
  it('do together what `rondo start` does, and a worker takes only the jobs that it is told', async () => {
    const shop = await openWorkshop();
    const ids = {
      saw: await shop.enqueue('saw', {}),
      plane: await shop.enqueue('plane', {}),
      glue: await shop.enqueue('glue', {}),
    };
    const first = shop.start(['worker', '--jobs', 'saw,plane']);
    await shop.noted(`end saw ${ids.saw} 1`);
    await shop.noted(`end plane ${ids.plane} 1`);
    first.kill('SIGTERM');
    await first.exit;
    expect(await shop.find('glue', ids.glue)).toMatchObject({ state: 'waiting' });

    shop.start(['worker', '--jobs', 'glue,glue']);
    await shop.noted(`end glue ${ids.glue} 1`);
    const { processes } = await listProcesses(shop.broker);
    const taken = processes.flatMap(({ jobs }) => jobs.map(({ name }) => name));
    expect(taken, 'named twice, taken once').toEqual(['glue']);
  });

  it('run a schedule: one keeps it, another executes it', async () => {
    const { prefix } = await fixture([]);
    const start = (role: string) => startProgram([role], { env: { RONDO_PREFIX: prefix } });
    const worker = start('worker');
    const producer = start('producer');

    await producer.line(isEvent('producer.leading'));
    await worker.line(isEvent('run.succeeded', { schedule: 'heartbeat' }));

    expect(producer.lines.filter(isEvent('run.succeeded'))).toEqual([]);
    expect(worker.lines.filter(isEvent('producer.leading'))).toEqual([]);
  });

  it('hand the lead to a producer that stands by, within 15 s of a kill -9', prompt, async () => {
    const { prefix } = await fixture([]);
    const start = () => startProgram(['producer'], { env: { RONDO_PREFIX: prefix } });
    const first = start();
    await first.line(isEvent('producer.leading'));
    const second = start();
    await second.line(isEvent('producer.standby'));

    const killedAt = Date.now();
    first.kill('SIGKILL');
    const line = await second.line(isEvent('producer.leading'), 30_000);

    const tookMs = Date.parse(String(line.time)) - killedAt;
    expect(tookMs).toBeLessThan(15_000);
    console.log(`took over within ${tookMs} ms`);
  });

  it('hand it over at once where the first stops in order', async () => {
    const { prefix } = await fixture([]);
    const start = () => startProgram(['producer'], { env: { RONDO_PREFIX: prefix } });
    const first = start();
    await first.line(isEvent('producer.leading'));
    const second = start();
    await second.line(isEvent('producer.standby'));

    first.kill('SIGTERM');
    const { code } = await first.exit;
    await second.line(isEvent('producer.leading'));

    expect(code).toBe(0);
  });
});

describe('an exception that belongs to no run', () => {
  it.each(['worker', 'producer', 'start'])(
    'ends `rondo %s` in order, with one message and exit code 1',
    async (role) => {
      const { broker, prefix } = await fixture([]);
      const RONDO_JOBS = writeJobs(`${onTrigger("throw new Error('out of glue');")}
      export default [defineJob({ name: 'idle', run: () => null })];`);
      const program = startProgram([role], { env: { RONDO_JOBS, RONDO_PREFIX: prefix, RONDO_APP: 'test' } });
      await program.line(started);
      const lease = broker.keys.producerLease('test');
      expect(await broker.client.exists(lease)).toBe(role === 'worker' ? 0 : 1);

      trigger(RONDO_JOBS);

      expect(await program.exit).toEqual({ code: 1, signal: null });
      expect(program.stderr().match(/out of glue/g)).toHaveLength(1);
      expect(program.stderr()).toMatch(/^rondo: /);
      expect(program.lines.filter(isEvent('process.crashed'))).toMatchObject([
        { level: 50, code: null, reason: 'out of glue', error: { stack: expect.stringContaining('jobs.mjs') } },
      ]);
      expect(await broker.client.exists(lease), 'the lead was given back').toBe(0);
    },
  );

  it('lets what runs finish first', async () => {
    const shop = await openWorkshop(onTrigger("throw new Error('out of glue');"));
    const id = await shop.enqueue('saw', { seconds: 1.5 });
    const worker = shop.start(['worker']);
    await shop.noted(`begin saw ${id} 1`);
    shop.trigger();

    expect(await worker.exit).toEqual({ code: 1, signal: null });
    expect(shop.notes()).toEqual([`begin saw ${id} 1`, `end saw ${id} 1`]);
    expect(await shop.find('saw', id)).toMatchObject({ state: 'completed' });
  });

  it('is not hidden by a part that then fails to stop, which is told in the log', async () => {
    const shop = await openWorkshop(
      onTrigger(`
      const { off } = process;
      process.off = (event, ...rest) => {
        if (event === 'uncaughtException') throw new Error('stuck fast');
        return off.call(process, event, ...rest);
      };
      throw new Error('out of glue');`),
    );
    const worker = shop.start(['worker']);
    await worker.line(started);
    shop.trigger();

    expect(await worker.exit).toEqual({ code: 1, signal: null });
    expect(worker.stderr()).toMatch(/^rondo: Error: out of glue/);
    expect(worker.stderr()).not.toContain('stuck fast');
    expect(worker.lines.filter(isEvent('process.crashed'))).toMatchObject([{ reason: 'out of glue' }]);
    const [line, ...others] = worker.lines.filter(isEvent('process.stop-failed'));
    expect(JSON.stringify(line)).toContain('stuck fast');
    expect(others).toEqual([]);
  });

  it('is not lost where it comes while the process stops already', async () => {
    const shop = await openWorkshop(`process.on('SIGTERM', () => {
      setTimeout(() => { throw new Error('out of glue'); }, 200);
    });`);
    const id = await shop.enqueue('saw', { seconds: 1.5 });
    const worker = shop.start(['worker']);
    await shop.noted(`begin saw ${id} 1`);

    worker.kill('SIGTERM');

    expect(await worker.exit).toEqual({ code: 1, signal: null });
    expect(worker.stderr()).toMatch(/^rondo: Error: out of glue/);
    expect(shop.notes()).toContain(`end saw ${id} 1`);
  });

  it.skipIf(!hasTerminal())('is read once on a terminal', async () => {
    const { prefix } = await fixture([]);
    const RONDO_JOBS = writeJobs(`${onTrigger("throw new Error('out of glue');")}
      export default [];`);

    const terminal = startOnTerminal('worker', { env: { RONDO_JOBS, RONDO_PREFIX: prefix } });
    await eventually(() => terminal.screen().includes('started, with Redis at'));
    trigger(RONDO_JOBS);

    expect(await terminal.exit).toBe(1);
    expect(terminal.screen().match(/out of glue/g)).toHaveLength(1);
    expect(withoutColours(terminal.screen())).toMatch(/INFO: stopping: [^\n]*\n(.*\n)*rondo: Error: out of glue/);
  });

  it('is told as clearly where it comes before the service has started', async () => {
    const { prefix } = await fixture([]);
    const RONDO_JOBS = writeJobs(`
      setTimeout(() => { throw new Error('out of glue'); }, 0);
      export default [];`);

    const program = startProgram(['worker'], { env: { RONDO_JOBS, RONDO_PREFIX: prefix } });

    expect(await program.exit).toEqual({ code: 1, signal: null });
    expect(program.stderr().match(/out of glue/g)).toHaveLength(1);
    expect(program.stderr()).toMatch(/^rondo: /);
  });
});

describe('a part that does not start', () => {
  it('ends the process with exit code 1 and one message with its code', async () => {
    const { prefix } = await fixture([]);
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;

    const program = startProgram(['api'], { env: { RONDO_PREFIX: prefix, PORT: String(port) } });

    expect(await program.exit).toEqual({ code: 1, signal: null });
    expect(program.lines.filter(isEvent('process.crashed'))).toEqual([]);
    expect(program.stderr()).toMatch(new RegExp(`^rondo: .*${port}.* \\[port-unusable\\]\n$`));
    expect(program.lines.some(stopping)).toBe(false);
  });
});

/** For a jobs module: what it does when it is triggered, outside of all runs. */
function onTrigger(code: string): string {
  return `
import { watchFile } from 'node:fs';
watchFile(new URL('trigger', import.meta.url), { interval: 50 }, ({ size }) => {
  if (size > 0) { ${code} }
});`;
}

function trigger(jobsModule: string): void {
  writeFileSync(join(jobsModule, '../trigger'), 'now');
}

/** Jobs in a folder of their own, and a look at what became of their runs. */
async function openWorkshop(further = '') {
  const known = ['saw', 'plane', 'glue'].map((name) => defineJob({ name, retry: { attempts: 1 }, run: () => null }));
  const registry = createRegistry(known);
  const { broker, prefix }: Fixture = await fixture(known);
  const folder = freshFolder();
  const RONDO_JOBS = writeJobs(workshop + further, { folder });
  const file = join(folder, 'notes');
  const notes = () => (existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : []);
  return {
    broker,
    notes,
    noted: (line: string, times = 1) => eventually(() => notes().filter((it) => it === line).length >= times),
    enqueue: (job: string, payload: object) => enqueue(broker, registry.get(job), payload),
    find: (job: string, id: string) => findRun(broker, registry.get(job), id),
    trigger: () => trigger(RONDO_JOBS),
    start: (args: string[], env: Record<string, string> = {}) =>
      startProgram(args, { env: { RONDO_JOBS, RONDO_PREFIX: prefix, ...env } }),
  };
}

function childrenOf({ child }: Program): number[] {
  const { stdout } = spawnSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' });
  const pairs = stdout.split('\n').map((line) => line.trim().split(/\s+/).map(Number));
  return pairs.flatMap(([pid = 0, parent]) => (parent === child.pid ? [pid] : []));
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function withoutColours(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: terminals are spoken to in them
  return text.replace(/\u001b\[\d+m/g, '').trimEnd();
}
