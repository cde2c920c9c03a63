import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { askProcesses, createLiveness, type Watched } from '../../src/observability/liveness.js';
import { eventually, fixture } from '../support/harness.js';
import { freshFolder } from '../support/jobs-module.js';
import { type Program, runProgram, startProgram } from '../support/processes.js';
import { hasRedisServer, startRedis } from '../support/servers.js';

const started = (line: { msg?: string }) => /started, with Redis at/.test(line.msg ?? '');

describe('rondo health', () => {
  it.each([
    { command: 'producer', parts: ['producer'] },
    { command: 'worker', parts: ['worker'] },
    { command: 'api', parts: ['api'] },
    { command: 'start', parts: ['worker', 'producer', 'api'] },
  ])('finds `rondo $command` well, by the same command for every role', async ({ command, parts }) => {
    const place = await openPlace();
    const program = await place.start(command);

    const { code, stdout } = await place.health('--json');

    expect(JSON.parse(stdout)).toEqual({
      status: 'ready',
      processes: [{ pid: program.child.pid, parts: parts.map((role) => ({ role, trouble: null })) }],
    });
    expect(code).toBe(0);
  });

  it('exits with 1 and says so where no process is', async () => {
    const { code, stdout } = await (await openPlace()).health();

    expect(stdout).toBe('No process of this user answers here.\n');
    expect(code).toBe(1);
  });

  it('wants every process well', async () => {
    const place = await openPlace();
    const worker = await place.start('worker');
    const stopped = await place.start('producer');
    stopped.kill('SIGSTOP');

    const { code, stdout } = await place.health();

    expect(code).toBe(1);
    expect(stdout).toMatch(new RegExp(`^${worker.child.pid} +worker +ready +-$`, 'm'));
    expect(stdout).toMatch(new RegExp(`^${stopped.child.pid} +process +unready +no answer within 3000 ms$`, 'm'));
  });

  it('no longer finds a process that was killed, though its socket is left and a living process has its id', async () => {
    const place = await openPlace();
    const program = await place.start('worker');
    program.kill('SIGKILL');
    await program.exit;
    expect(place.sockets()).toEqual([`${program.child.pid}.sock`]);
    renameSync(join(place.folder, `${program.child.pid}.sock`), join(place.folder, `${process.pid}.sock`));

    expect(await place.health()).toMatchObject({ code: 1, stdout: 'No process of this user answers here.\n' });
  });

  it('leaves nothing behind of a process that stopped, nor of one that was killed once another starts', async () => {
    const place = await openPlace();
    const killed = await place.start('worker');
    killed.kill('SIGKILL');
    await killed.exit;

    const next = await place.start('worker');
    expect(place.sockets()).toEqual([`${next.child.pid}.sock`]);

    next.kill('SIGTERM');
    expect(await next.exit).toEqual({ code: 0, signal: null });
    expect(place.sockets()).toEqual([]);
  });

  it('does not keep a process from starting where there can be no socket', async () => {
    const place = await openPlace();
    writeFileSync(place.folder, 'a file where the folder should be');
    const program = await place.start('worker');

    expect(program.lines.map(({ msg }) => msg).join('\n')).toContain('rondo health will not find this process');
    expect(await place.health()).toMatchObject({ code: 1 });
  });

  describe.skipIf(!hasRedisServer())('while Redis comes and goes', () => {
    it.each(['producer', 'worker', 'api'])(
      'calls `rondo %s` unready with the reason, and ready again',
      async (role) => {
        const redis = await startRedis();
        onTestFinished(() => redis.stop());
        const place = await openPlace({ REDIS_URL: redis.url });
        const program = await place.start(role);

        await redis.kill('SIGKILL');
        const away = await place.healthOf({ code: 1 });
        const [found] = JSON.parse(away.stdout).processes;
        expect(found).toMatchObject({ pid: program.child.pid, parts: [{ role, trouble: expect.any(String) }] });
        expect(found.parts[0].trouble).toMatch(/redis|connection/i);

        await redis.restart();
        await place.healthOf({ code: 0 });
      },
      90_000,
    );

    it('calls a process unready whose Redis hangs', async () => {
      const redis = await startRedis();
      onTestFinished(() => redis.stop());
      const place = await openPlace({ REDIS_URL: redis.url });
      await place.start('worker');

      await redis.kill('SIGSTOP');
      const { code, stdout } = await place.health();

      expect(code).toBe(1);
      expect(stdout).toContain('no answer within 2000 ms');
    });
  });
});

describe('a process that asks its parts how they are', () => {
  it('takes the place of one that had its id, as in a container that is started again', async () => {
    const { folder } = await openPlace();
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${process.pid}.sock`), 'left behind');

    await serve(folder, [{ role: 'worker', trouble: async () => null }]);

    expect(await askProcesses(folder)).toEqual([{ pid: process.pid, parts: [{ role: 'worker', trouble: null }] }]);
  });

  it('tells of a part that throws or does not answer, beside those that are well', async () => {
    const { folder } = await openPlace();
    await serve(folder, [
      { role: 'worker', trouble: async () => null },
      { role: 'producer', trouble: () => Promise.reject(new Error('out of glue')) },
      { role: 'api', trouble: () => new Promise(() => {}) },
    ]);

    const [{ parts } = { parts: [] }] = await askProcesses(folder);

    expect(parts).toEqual([
      { role: 'worker', trouble: null },
      { role: 'producer', trouble: 'Error: out of glue' },
      { role: 'api', trouble: 'no answer within 2000 ms' },
    ]);
  });
});

async function serve(folder: string, watched: readonly Watched[]): Promise<void> {
  const warnings: string[] = [];
  const liveness = createLiveness(watched, (message) => warnings.push(message), folder);
  await liveness.start();
  onTestFinished(() => liveness.stop());
  expect(warnings).toEqual([]);
}

/** A temporary folder of their own, for processes that only `rondo health` in the same place finds. */
async function openPlace(env: Record<string, string> = {}) {
  const { prefix } = await fixture([]);
  const TMPDIR = freshFolder();
  const folder = join(TMPDIR, `rondo-${process.getuid?.()}`);
  const own = { TMPDIR, RONDO_PREFIX: prefix, ...env };
  const health = (...args: string[]) => runProgram(['health', ...args], { env: own });
  return {
    folder,
    sockets: () => (existsSync(folder) ? readdirSync(folder) : []),
    health,
    /** Asks until the exit code is this one. */
    async healthOf({ code }: { code: number }) {
      let last = await health('--json');
      await eventually(async () => {
        if (last.code !== code) last = await health('--json');
        return last.code === code;
      });
      return last;
    },
    async start(command: string): Promise<Program> {
      const program = startProgram([command], { env: own });
      await program.line(started);
      return program;
    },
  };
}
