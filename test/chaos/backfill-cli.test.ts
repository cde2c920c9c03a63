import { describe, expect, it } from 'vitest';
import { type BackfillRecord, readBackfills } from '../../src/broker/backfills.js';
import { createBackfillKeeper } from '../../src/producers/feed.js';
import { eventually } from '../support/harness.js';
import { daily, day, lastTick, missedTicks, now } from '../support/missed-ticks.js';
import { hasTerminal, runProgram, startOnTerminal, startProgram } from '../support/processes.js';

describe('rondo schedules backfill', () => {
  it('shows what it would run, runs it, and says how far it is', async () => {
    const { broker, missed, rondo, range } = await commands(12);
    const dry = await rondo(...range, '--dry-run');
    expect(dry.stdout).toBe(
      `daily: would run 12 ticks, ${iso(missed[0])} to ${iso(lastTick)}; left out:\n  8 are older than the ledger\n`,
    );
    expect((await readBackfills(broker, daily)).records).toEqual([]);

    const done = JSON.parse((await rondo(...range, '--by', 'night shift', '--json')).stdout);
    expect(done).toMatchObject({ state: 'fed', count: 12, added: 12, started: 0, by: 'night shift', onlyMissed: true });
    expect(await broker.queue('work').getDelayedCount()).toBeGreaterThanOrEqual(12);
    expect((await rondo('--status')).stdout).toMatch(new RegExp(`${done.id} +fed .* 12 +12 +0 +night shift`));

    const again = await rondo(...range);
    expect(again).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^daily: no tick to backfill; left out:\n {2}12 are in another/),
    });
    expect((await rondo('--cancel')).stdout).toMatch(/is cancelled; 12 runs were removed, 0 of 12 had begun\n$/);
    expect(await rondo('--cancel')).toMatchObject({ code: 1, stderr: expect.stringMatching(/backfill-unknown/) });
  });

  it.each([
    [['--from', '2026-01-01'], 2, /wants --from and --to, or one of --resume, --cancel, --status/],
    [['--from', 'monday', '--to', '2026-01-02'], 2, /an ISO time such as .*; got "monday"/],
    [['--cancel', '--status'], 2, /--cancel and --status exclude each other/],
    [['--resume', '--only-missed'], 2, /--resume takes no --only-missed/],
    [
      ['--from', '2026-01-02', '--to', '2026-01-01'],
      2,
      /--to: expected a time at or after --from, 2026-01-02T00:00:00Z; got 2026-01-01/,
    ],
    [['--resume'], 1, /none of daily is stopped \[backfill-unknown\]/],
  ])('answers %s with %i, and says why', async (args, code, why) => {
    const { rondo } = await commands(2);
    expect(await rondo(...args)).toMatchObject({ code, stderr: expect.stringMatching(why), stdout: '' });
  });

  it.runIf(hasTerminal())('stops at Ctrl-C under a bar, and goes on with --resume', async () => {
    const { broker, env } = await commands(2, { schedules: [{ id: 'daily', every: '1s' }] });
    const range = `--from ${new Date(now - 12_000_000).toISOString()} --to ${new Date(now).toISOString()}`;
    const { screen, exit, type } = startOnTerminal(`schedules backfill daily ${range}`, { env });
    await eventually(() => /\[#*\.+\] \d+ of 1\d{4}, \d+ a second/.test(screen()));
    await eventually(async () => (await recordOf(broker)).fed > 0);
    type('\u0003');
    expect(await exit).toBe(1);
    const stopped = await recordOf(broker);
    expect(stopped.state).toBe('stopped');
    expect(stopped.fed).toBeLessThan(stopped.count);
    expect(screen()).toContain(`is stopped at ${stopped.fed} of ${stopped.count} runs; those go on.`);
    expect(screen()).toContain('rondo schedules backfill daily --resume');

    const { code, stdout } = await runProgram(['schedules', 'backfill', 'daily', '--resume', '--json'], { env });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ id: stopped.id, state: 'fed', added: stopped.count });
    expect(await broker.queue('work').getDelayedCount()).toBeGreaterThanOrEqual(stopped.count - 1);
  });

  it('leaves what a killed process has not fed to the producer', async () => {
    const { broker, events, env } = await commands(2, { schedules: [{ id: 'daily', every: '1s' }] });
    const range = ['--from', new Date(now - 6_000_000).toISOString(), '--to', new Date(now).toISOString()];
    const program = startProgram(['schedules', 'backfill', 'daily', ...range], { env });
    await eventually(async () => (await recordOf(broker))?.fed > 0);
    program.kill('SIGKILL');
    await program.exit;
    expect((await recordOf(broker)).state).toBe('feeding');

    const keeper = createBackfillKeeper(broker, () => true, events.emit);
    await eventually(async () => {
      keeper.look();
      return (await recordOf(broker)).state === 'fed';
    });
    await keeper.stop();
    const { fed, count } = await recordOf(broker);
    expect(fed).toBe(count);
    expect(await broker.queue('work').getDelayedCount()).toBeGreaterThanOrEqual(count - 1);
  });
});

async function commands(count: number, options: object = {}) {
  const parts = await missedTicks(count, options);
  const env = { RONDO_PREFIX: parts.prefix };
  const rondo = (...args: string[]) => runProgram(['schedules', 'backfill', 'daily', ...args], { env });
  const from = new Date(lastTick - (count + 7) * day).toISOString();
  const range = ['--from', from, '--to', new Date(now).toISOString(), '--only-missed'];
  return { ...parts, rondo, env, range };
}

async function recordOf(broker: Parameters<typeof readBackfills>[0]): Promise<BackfillRecord> {
  return (await readBackfills(broker, daily)).records.at(-1) as BackfillRecord;
}

const iso = (time = 0) => new Date(time).toISOString().replace('.000Z', 'Z');
