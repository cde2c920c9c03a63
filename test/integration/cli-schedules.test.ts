import { describe, expect, it } from 'vitest';
import { createPresence } from '../../src/broker/releases.js';
import { previewStored } from '../../src/producers/preview.js';
import { commands, refused, rowsOf, shopJobs } from '../support/commands.js';
import { fixture } from '../support/harness.js';
import { writeJobs } from '../support/jobs-module.js';

describe('schedules', () => {
  it('are planned, applied and healed, with their next times before and after', async () => {
    const { broker, prefix } = await fixture([]);
    const declaring = (schedules: string) => {
      const source = `export default [defineJob({ name: 'tidy', schedules: ${schedules}, run: () => null })];`;
      return commands({ RONDO_JOBS: writeJobs(source), RONDO_PREFIX: prefix, RONDO_APP: 'test', RONDO_RELEASE: '1' });
    };
    const [first, second] = ['2098-01-01T00:00:00Z', '2099-01-01T00:00:00Z'];

    let rondo = declaring(
      `[{ id: 'stays', at: '${first}' }, { id: 'moves', at: '${first}' }, { id: 'goes', at: '${first}' }]`,
    );
    expect(await rondo('schedules', 'list')).toBe('There are no schedules in Redis.\n');
    expect(rowsOf(await rondo('schedules', 'plan'))).toEqual([
      ['CHANGE', 'SCHEDULE', 'JOB', 'NEXT BEFORE', 'NEXT AFTER', 'WHY'],
      ...['stays', 'moves', 'goes'].map((id) => ['add', id, 'tidy', '-', first, 'new']),
      ['0 unchanged.'],
    ]);
    expect(await rondo.json('schedules', 'list'), 'a plan changes nothing').toEqual([]);
    await rondo('schedules', 'apply');
    expect(await rondo.json('schedules', 'plan')).toMatchObject({ changes: [], unchanged: 3 });

    await broker.queue('tidy').removeJobScheduler('stays');
    rondo = declaring(`[{ id: 'stays', at: '${first}' }, { id: 'moves', at: '${second}' }]`);
    const planned = await rondo.json('schedules', 'plan');
    const changes = [
      { kind: 'heal', id: 'stays', job: 'tidy', before: null, after: first, why: 'its scheduler is gone' },
      { kind: 'change', id: 'moves', job: 'tidy', before: first, after: second, why: 'another timing' },
      { kind: 'remove', id: 'goes', job: 'tidy', before: first, after: null, why: 'no longer declared' },
    ];
    const plan = { app: 'test', release: '1', changes, unchanged: 0, conflicts: [], refused: null };
    expect(planned).toEqual({ ...plan, warnings: [] });
    expect(await rondo.json('schedules', 'apply')).toEqual({ ...plan, failed: [] });

    expect(await rondo.json('schedules', 'list')).toMatchObject([
      { id: 'moves', job: 'tidy', next: second, health: 'sound' },
      { id: 'stays', job: 'tidy', next: first, health: 'sound' },
    ]);
    expect(rowsOf(await rondo('schedules', 'list'))[1]?.slice(0, 5)).toEqual([
      ...[
        'moves',
        'tidy',
        'Once, at 2099-01-01T00:00:00.000Z',
        expect.stringMatching(`^${second} \\(in \\d+d\\)$`),
        'sound',
      ],
    ]);
    expect(await rondo.json('schedules', 'show', 'moves')).toMatchObject({ id: 'moves', next: second, payload: {} });
    expect(await rondo('schedules', 'show', 'moves')).toMatch(/^job +tidy$/m);
    expect(await rondo('schedules', 'plan')).toBe('Nothing to change.\n2 unchanged.\n');
  });

  it('are disabled and enabled by code, and no business of another app that disables them', async () => {
    const { prefix } = await fixture([]);
    const [first, second] = ['2098-01-01T00:00:00Z', '2099-01-01T00:00:00Z'];
    const declaring = (app: string, at: string, enabled: boolean) => {
      const schedules = `[{ id: 'it', at: '${at}', enabled: ${enabled} }]`;
      const source = `export default [defineJob({ name: 'tidy', schedules: ${schedules}, run: () => null })];`;
      return commands({ RONDO_JOBS: writeJobs(source), RONDO_PREFIX: prefix, RONDO_APP: app });
    };
    const apply = async (at: string, enabled: boolean) =>
      (await declaring('test', at, enabled).json('schedules', 'apply')).changes;

    expect(await apply(first, false)).toMatchObject([{ kind: 'add', after: null, why: 'new, disabled' }]);
    expect(await apply(first, true)).toMatchObject([{ kind: 'change', before: null, after: first, why: 'enabled' }]);
    expect(await apply(second, false)).toMatchObject([
      { kind: 'change', before: first, after: null, why: 'another timing; disabled' },
    ]);
    expect(await declaring('test', second, false).json('schedules', 'list')).toMatchObject([
      { id: 'it', enabled: false, health: 'disabled', next: null },
    ]);

    const other = declaring('other', first, false);
    expect(await other.json('schedules', 'plan')).toMatchObject({ changes: [], conflicts: [] });
    const { stdout } = await other.attempt('doctor', '--json');
    expect(JSON.parse(stdout).findings.map(({ code }: { code: string }) => code)).not.toContain('schedule-conflict');
    const leaderless = JSON.parse(stdout).findings.filter(({ code }: { code: string }) => code === 'no-producer');
    expect(leaderless).toMatchObject([{ severity: 'warning' }]); // for the app that has it, not for its own
  });

  it('are not applied by an older release while a newer one of the app was alive within the minute', async () => {
    const { broker, prefix } = await fixture([]);
    const source = `export default [defineJob({ name: 'tidy', schedules: [{ id: 'a', every: '1h' }], run: () => null })];`;
    const settings = { RONDO_JOBS: writeJobs(source), RONDO_PREFIX: prefix, RONDO_APP: 'test' };
    const newer = createPresence(broker, { app: 'test', release: '2' });
    await newer.start();
    await newer.stop(0);

    const older = commands({ ...settings, RONDO_RELEASE: '1' });
    const { code, stderr } = await older.attempt('schedules', 'apply', '--yes');
    expect(stderr).toBe('rondo: A newer release of the app is in charge: test 1, and 2 is alive [release-outdated]\n');
    expect(code).toBe(1);
    expect((await older.json('schedules', 'plan')).changes, 'a look is free').toHaveLength(1);
    expect(await older.json('schedules', 'list')).toEqual([]);
    await commands({ ...settings, RONDO_RELEASE: '2' })('schedules', 'apply');
    expect(await older.json('schedules', 'list')).toHaveLength(1);
  });

  it('are not removed by the half unless somebody says --yes', async () => {
    const { prefix } = await fixture([]);
    const declaring = (ids: string[]) => {
      const schedules = ids.map((id) => `{ id: '${id}', cron: '@yearly' }`).join(', ');
      const source = `export default [defineJob({ name: 'tidy', schedules: [${schedules}], run: () => null })];`;
      return commands({ RONDO_JOBS: writeJobs(source), RONDO_PREFIX: prefix });
    };
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    await declaring(ids)('schedules', 'apply');

    const rondo = declaring(['a']);
    const refusal = await rondo.attempt('schedules', 'apply');
    expect(refusal.stdout).toContain(
      'Refused to remove or disable 5 of 6 schedules (apply --yes does it): b, c, d, e, f.',
    );
    expect(refusal.code).toBe(1);
    const asJson = await rondo.attempt('schedules', 'apply', '--json');
    expect(JSON.parse(asJson.stdout)).toMatchObject({ changes: [], refused: { ids: ids.slice(1), owned: 6 } });
    expect(asJson.code).toBe(1);
    expect(await rondo.json('schedules', 'list')).toHaveLength(6);

    await rondo('schedules', 'apply', '--yes');
    expect(await rondo.json('schedules', 'list')).toMatchObject([{ id: 'a' }]);
  });

  it('of another app are left alone, and said', async () => {
    const { prefix } = await fixture([]);
    const module = writeJobs(`
      export default [defineJob({ name: 'tidy', schedules: [{ id: 'nightly', cron: '@daily' }], run: () => null })];`);
    const rondo = commands({ RONDO_JOBS: module, RONDO_PREFIX: prefix, RONDO_APP: 'ours' });
    await commands({ RONDO_JOBS: module, RONDO_PREFIX: prefix, RONDO_APP: 'theirs' })('schedules', 'apply');

    const { code, stdout } = await rondo.attempt('schedules', 'apply');

    expect(stdout).toContain('nightly is left as it is: it belongs to code:theirs');
    expect(code).toBe(1);
    expect(await rondo.json('schedules', 'list')).toMatchObject([{ id: 'nightly', owner: 'code:theirs' }]);
  });

  it('suggest the nearest id for one that does not exist', async () => {
    const { prefix } = await fixture([]);
    const rondo = commands({ RONDO_JOBS: writeJobs(shopJobs), RONDO_PREFIX: prefix });
    await rondo('schedules', 'apply');

    for (const verb of ['show', 'preview', 'ticks', 'pause', 'resume', 'trigger', 'remove']) {
      const { code, stderr } = await rondo.attempt('schedules', verb, 'close-day-pari');
      expect(stderr).toContain('no such schedule: "close-day-pari" (did you mean "close-day-paris"?)');
      expect(code).toBe(1);
    }
  });

  it('are previewed over a clock change in local times, without a Redis', async () => {
    const rondo = commands({ RONDO_JOBS: writeJobs(shopJobs), REDIS_URL: refused });

    const autumn = await rondo('schedules', 'preview', 'close-day-paris', ...['--count', '2'], ...from('2026-10-24'));
    const spring = await rondo.json(
      'schedules',
      'preview',
      'close-day-gap',
      ...['--count', '3'],
      ...from('2026-03-28'),
    );

    expect(rowsOf(autumn)).toEqual([
      ['At 07:00 (Europe/Paris)'],
      ['UTC', 'LOCAL', 'NOTE'],
      ['2026-10-24T05:00:00Z', 'Sat, 24/10/2026, 07:00 CEST', '-'],
      [
        '2026-10-25T06:00:00Z',
        'Sun, 25/10/2026, 07:00 CET',
        'the clock goes back from 03:00 to 02:00 before it, on 2026-10-25',
      ],
    ]);
    const due = (time: string, local: string, note: string | null = null) => ({ time, due: time, local, note });
    expect(spring).toEqual({
      id: 'close-day-gap',
      words: 'At 02:30 (Europe/Paris)',
      times: [
        due('2026-03-28T01:30:00Z', 'Sat, 28/03/2026, 02:30 CET'),
        due(
          '2026-03-29T01:00:00Z',
          'Sun, 29/03/2026, 03:00 CEST',
          'the clock goes forward from 02:00 to 03:00: 02:30 runs at 03:00',
        ),
        due('2026-03-30T00:30:00Z', 'Mon, 30/03/2026, 02:30 CEST'),
      ],
      left: [],
      complete: true,
    });
  });

  it('are previewed and planned with their calendars, and with what there is to beware of', async () => {
    const { broker, prefix } = await fixture([]);
    const calendars = `
import { defineCalendar } from 'rondo';
const holidays = defineCalendar({ name: 'holidays', timezone: 'Europe/Paris', yearly: ['12-25'], weekly: [{ days: ['sat', 'sun'] }] });
const crowd = Array.from({ length: 60 }, (_, index) => ({ id: 'crowd-' + index, cron: '0 12 * * *' }));
const invoice = { id: 'invoice', cron: '0 9 * * *', timezone: 'Europe/Paris', exclude: [holidays], except: ['2026-12-27'] };
export default [defineJob({ name: 'work', schedules: [invoice, ...crowd], run: () => null })];`;
    const rondo = commands({ RONDO_JOBS: writeJobs(calendars), RONDO_PREFIX: prefix });
    const preview = ['schedules', 'preview', 'invoice', '--count', '2', ...from('2026-12-25')];
    const expected = [
      ['At 09:00 (Europe/Paris), except holidays'],
      ['UTC', 'LOCAL', 'NOTE'],
      ['2026-12-25T08:00:00Z - 2026-12-26T08:00:00Z', 'Fri, 25/12/2026, 09:00 CET', '2 times excluded: holidays'],
      ['2026-12-27T08:00:00Z', 'Sun, 27/12/2026, 09:00 CET', '-'],
      ['2026-12-28T08:00:00Z', 'Mon, 28/12/2026, 09:00 CET', '-'],
    ];
    expect(rowsOf(await rondo(...preview))).toEqual(expected);
    expect(await rondo('schedules', 'plan')).toMatch(
      /\n\nWarning: 60 schedules are due at \S+T12:00:00Z: a spread such as '5m' divides them \(crowd-0, .* and 55 more\)\.\n$/,
    );
    await rondo('schedules', 'apply');
    const stored = await previewStored(broker, 'invoice', { from: Date.parse('2026-12-25'), count: 2 });
    expect(stored).toEqual(await rondo.json(...preview));
    const others = commands({ RONDO_PREFIX: prefix });
    expect(rowsOf(await others(...preview)), 'a schedule that only the store knows').toEqual(expected);
  });

  const from = (day: string) => ['--from', `${day}T00:00:00Z`];
});
