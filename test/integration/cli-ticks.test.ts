import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ledgerKeys } from '../../src/broker/ledger-format.js';
import { packEntry, type TickEntry } from '../../src/broker/tick-entry.js';
import { commands, rowsOf } from '../support/commands.js';
import { eventually, fixture } from '../support/harness.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { hasTerminal, runProgram, runShell, startOnTerminal, startProgram } from '../support/processes.js';
import { hasRedisServer, startRedis } from '../support/servers.js';

describe('the ticks of a schedule', () => {
  const hour = 3_600_000;
  const at = (time: number) => new Date(time).toISOString();

  it('are a strip with its legend, and lines: when, with what outcome, how late, and why', async () => {
    const { rondo, first } = await withLedger();

    const shown = await rondo('schedules', 'show', 'nightly');

    expect(shown).toContain('last    .F ?×30 pw');
    expect(shown).toContain('. succeeded   F failed   ? unknown   p paused   w waiting');
    expect(shown).toMatch(/^misfire +run-once: of missed ticks the latest runs$/m);
    expect(shown).toMatch(/^upcoming +\S+ \(in \S+.*\), \S+ \(in/m);
    expect(shown).toMatch(/^ledger +accounted for up to \S+, known from \S+$/m);
    expect(rowsOf(shown).slice(-5)).toEqual([
      [at(first), 'succeeded', '20ms', '1.5s', '1', `repeat:nightly:${first}`, '-'],
      [at(first + hour), 'failed', '20ms', '3s', '2', `tick:nightly:${first + hour}`, 'no answer'],
      [`${at(first + 2 * hour)} - ${at(first + 31 * hour)} (30)`, 'unknown', '-', '-', '-', '-', 'Redis lost its data'],
      [at(first + 32 * hour), 'paused', '-', '-', '-', '-', '-'],
      [at(first + 33 * hour), 'waiting', '1s', '-', '-', `repeat:nightly:${first + 33 * hour}`, '-'],
    ]);
    const [heading, row] = rowsOf(await rondo('schedules', 'list'));
    expect(heading).toEqual([
      'SCHEDULE',
      'JOB',
      'WHEN',
      'NEXT',
      'HEALTH',
      'LAST',
      'LATE BY',
      'RUNS',
      'OWNER',
      'RELEASE',
    ]);
    expect(row?.slice(5, 8)).toEqual(['waiting', '1s', '0']);
  });

  it('are filtered by outcome, time and number, and told in full as JSON', async () => {
    const { rondo, first } = await withLedger();
    const listed = async (...flags: string[]) => {
      const { ticks } = await rondo.json('schedules', 'ticks', 'nightly', ...flags);
      return ticks.map((tick: { outcome: string }) => tick.outcome);
    };

    expect(await listed('--outcome', 'failed,paused')).toEqual(['failed', 'paused']);
    expect(await listed('--limit', '2')).toEqual(['paused', 'waiting']);
    expect(await listed('--outcome', 'failed', '--limit', '1')).toEqual(['failed']);
    const inside = ['--from', at(first + 10 * hour), '--to', at(first + 11 * hour)];
    expect(await listed(...inside), 'a range reaches in').toEqual(['unknown']);
    expect(await rondo('schedules', 'ticks', 'nightly', '--outcome', 'missed')).toBe('There are no such ticks.\n');
    expect(await rondo.json('schedules', 'ticks', 'nightly', '--outcome', 'failed')).toEqual({
      ...{ schedule: 'nightly', job: 'tidy', removed: null, knownFrom: expect.any(String), unreadable: 0 },
      ticks: [
        {
          time: at(first + hour),
          to: null,
          count: 1,
          outcome: 'failed',
          reason: 'no answer\nat all',
          due: at(first + hour),
          claimed: at(first + hour + 20),
          started: at(first + hour + 2_500).replace('.000Z', 'Z'),
          finished: at(first + hour + 5_500).replace('.000Z', 'Z'),
          latenessMs: 20,
          durationMs: 3_000,
          attempts: 2,
          run: `tick:nightly:${first + hour}`,
        },
      ],
    });
  });

  it('that cannot be read are counted on standard error, and left as they are', async () => {
    const { rondo, broker, key } = await withLedger();
    await broker.client.zadd(key, 5, 'by hand', 6, '9s|newer');

    for (const args of [
      ['schedules', 'ticks', 'nightly', '--json'],
      ['schedules', 'show', 'nightly'],
    ]) {
      const { code, stdout, stderr } = await rondo.attempt(...args);
      expect(stderr).toBe('rondo: 2 entries of the ledger are unreadable to this release, and left as found\n');
      expect(stdout).toContain('no answer');
      expect(code).toBe(0);
    }
    expect(await broker.client.zscore(key, 'by hand')).toBe('5');
    await broker.client.del(key);
    await broker.client.set(key, 'no ledger at all');
    const { code, stderr } = await rondo.attempt('schedules', 'ticks', 'nightly');
    expect(stderr).toBe(
      'rondo: The ledger holds what this release cannot read: that of nightly is no ledger [ledger-unreadable]\n',
    );
    expect(code).toBe(1);
    expect(await rondo.json('schedules', 'list')).toMatchObject([{ id: 'nightly', health: 'ledger unreadable' }]);
  });

  it('can be read after the schedule is gone', async () => {
    const { rondo, env, folder } = await withLedger();
    writeJobs(`export default [defineJob({ name: 'tidy', run: () => null })];`, { folder });
    expect(await runProgram(['schedules', 'apply'], { env })).toMatchObject({ code: 0 });

    expect(await rondo.json('schedules', 'list')).toEqual([]);
    const { code, stdout, stderr } = await rondo.attempt('schedules', 'ticks', 'nightly', '--limit', '5');
    expect(stdout).toContain('no answer');
    expect(stderr).toMatch(/^rondo: nightly was removed at \S+Z\n$/);
    expect(code).toBe(0);
    expect((await rondo.attempt('schedules', 'ticks', 'nightli')).stderr).toContain('no such schedule: "nightli"');
  });

  it('are followed as they come and change, until Ctrl-C, which is no failure', async () => {
    const { env, broker, key, first } = await withLedger();
    const followed = startProgram(['schedules', 'ticks', 'nightly', '--follow', '--limit', '1', '--json'], { env });
    const table = startProgram(['schedules', 'ticks', 'nightly', '--follow', '--limit', '1'], { env });
    await followed.line(({ outcome }) => outcome === 'waiting');
    await eventually(() => table.text().includes('waiting'));

    const time = first + 33 * hour;
    const run = {
      time,
      due: time,
      claimed: time + 1_000,
      started: time + 1_000,
      run: `repeat:nightly:${time}`,
      attempts: 1,
    };
    const [waiting = ''] = await broker.client.zrange(key, '-1', '-1');
    const done = packEntry('nightly', { ...run, finished: time + 2_000, outcome: 'succeeded' });
    await broker.client.multi().zrem(key, waiting).zadd(key, time, done).exec();
    await followed.line(({ outcome }) => outcome === 'succeeded');
    await eventually(() => table.text().includes('succeeded'));
    await broker.client.zadd(key, time + hour, packEntry('nightly', { ...run, time: time + hour, outcome: 'running' }));
    await followed.line((line) => line.outcome === 'running');
    await eventually(() => table.text().includes('running'));

    for (const program of [followed, table]) program.kill('SIGINT');
    expect(await followed.exit).toEqual({ code: 0, signal: null });
    expect(await table.exit).toEqual({ code: 0, signal: null });
    expect(followed.lines.map(({ outcome }) => outcome)).toEqual(['waiting', 'succeeded', 'running']);
    expect(followed.lines[1]).toMatchObject({ time: at(time), durationMs: 1_000, latenessMs: 1_000 });
    expect(rowsOf(table.stdout()).map((row) => row[1])).toEqual(['OUTCOME', 'waiting', 'succeeded', 'running']);
    expect(followed.stderr() + table.stderr()).toBe('');
  });

  it.skipIf(!hasRedisServer())('are followed on when Redis has been away', async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const { env, broker, key, first } = await withLedger(redis.url);
    const followed = startProgram(['schedules', 'ticks', 'nightly', '--follow', '--limit', '1', '--json'], { env });
    await followed.line(({ outcome }) => outcome === 'waiting');

    await redis.kill('SIGKILL');
    await eventually(() => followed.stderr().includes('away'));
    await redis.restart();
    await eventually(() => followed.stderr().includes('back'));
    await eventually(() => broker.client.status === 'ready');
    await broker.client.zadd(key, first, packEntry('nightly', { time: first, to: first, count: 1, outcome: 'missed' }));

    await followed.line(({ outcome }) => outcome === 'missed');
    expect(followed.stderr()).toBe('rondo: Redis is away; going on when it is back\nrondo: Redis is back\n');
  });

  it.skipIf(!hasTerminal())('are in colour on a terminal, and there alone', async () => {
    const { env, rondo } = await withLedger();

    const terminal = startOnTerminal('schedules show nightly', { env });
    await terminal.exit;

    expect(terminal.screen()).toContain('\u001b[32m.\u001b[0m\u001b[31mF\u001b[0m');
    expect(await rondo('schedules', 'show', 'nightly')).not.toContain('\u001b');
  });

  it('are followed no longer than their reader stays', async () => {
    const { env, broker, key, first } = await withLedger();

    const reading = runShell('$rondo schedules ticks nightly --follow --limit 1000 --json | head -n 1', { env });
    const more = setInterval(
      () => void broker.client.zadd(key, Date.now(), `2p|${(Date.now() - hour).toString(36)}|0|1`),
      200,
    );
    const { code, stdout, stderr } = await reading.finally(() => clearInterval(more));

    expect(JSON.parse(stdout)).toMatchObject({ time: at(first) });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  /** An hourly schedule whose ledger has an entry of each kind. */
  async function withLedger(url?: string) {
    const { broker, prefix } = await fixture([], { url });
    const folder = freshFolder();
    const env = { RONDO_JOBS: join(folder, 'jobs.mjs'), RONDO_PREFIX: prefix, ...(url && { REDIS_URL: url }) };
    writeJobs(
      `export default [defineJob({ name: 'tidy', schedules: [{ id: 'nightly', every: '1h' }], run: () => null })];`,
      { folder },
    );
    const rondo = commands(env);
    await rondo('schedules', 'apply');
    const first = Date.parse('2026-03-01T00:00:00.123Z');
    const run = (time: number, late: number) => ({ time, due: time, claimed: time + late, attempts: 0 });
    const [second, waits] = [first + hour, first + 33 * hour];
    const entries: TickEntry[] = [
      {
        ...run(first, 20),
        started: first + 20,
        finished: first + 1_520,
        attempts: 1,
        run: `repeat:nightly:${first}`,
        outcome: 'succeeded',
      },
      {
        ...run(second, 20),
        started: second + 2_500,
        finished: second + 5_500,
        attempts: 2,
        run: `tick:nightly:${second}`,
        outcome: 'failed',
        reason: 'no answer\nat all',
      },
      { time: first + 2 * hour, to: first + 31 * hour, count: 30, outcome: 'unknown', reason: 'Redis lost its data' },
      { time: first + 32 * hour, to: first + 32 * hour, count: 1, outcome: 'paused' },
      { ...run(waits, 1_000), run: `repeat:nightly:${waits}`, outcome: 'waiting' },
    ];
    const { ticks: key } = ledgerKeys(broker, { job: 'tidy', schedule: 'nightly' });
    for (const entry of entries) await broker.client.zadd(key, entry.time, packEntry('nightly', entry));
    return { rondo, env, broker, key, folder, first };
  }
});
