import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ledgerKeys } from '../../src/broker/ledger-format.js';
import { packEntry, type TickEntry } from '../../src/broker/tick-entry.js';
import { previewStored } from '../../src/producers/preview.js';
import { updateEntry } from '../../src/producers/store.js';
import { eventually, fixture, freshPrefix } from '../support/harness.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import {
  hasTerminal,
  type ProgramOptions,
  runProgram,
  runShell,
  startOnTerminal,
  startProgram,
} from '../support/processes.js';
import { hasRedisServer, startRedis } from '../support/servers.js';

/** Nobody listens there, so whoever connects fails. */
const refused = 'redis://127.0.0.1:1';
const stackTrace = /^\s+at .*[:(]/m;

describe('wrong usage', () => {
  it.each([
    { args: '', says: /Usage: rondo/ },
    { args: 'jobs', says: /Usage: rondo jobs/ },
    { args: 'sart', says: /unknown command 'sart'\n\(Did you mean start\?\)/ },
    { args: 'schedules plann', says: /unknown command 'plann'\n\(Did you mean plan\?\)/ },
    { args: 'jobs list --jsn', says: /unknown option '--jsn'\n\(Did you mean --json\?\)/ },
    { args: 'jobs list heartbeat', says: /too many arguments/ },
    { args: 'jobs show', says: /missing required argument 'name'/ },
    { args: 'runs show heartbeat', says: /missing required argument 'id'/ },
    { args: 'jobs enqueue heartbeat --payload {"a', says: /--payload .* Expected JSON/ },
    { args: 'jobs enqueue heartbeat --delay soon', says: /Expected a duration such as .* got "soon"/ },
    { args: 'jobs enqueue heartbeat --at noon', says: /Expected an ISO time such as .* got "noon"/ },
    { args: 'jobs enqueue heartbeat --priority 0', says: /whole number from 1 to .* got "0"/ },
    { args: 'runs list --state lost', says: /one of waiting, delayed, .* got "lost"/ },
    { args: 'runs list --limit 1e3', says: /whole number from 1 to 100000; got "1e3"/ },
    { args: 'runs list --limit 1001', says: /a --limit beyond 1000 want --job/ },
    { args: 'jobs list --gone --paused', says: /either --gone or --paused/ },
    { args: 'jobs enqueue heartbeat --ttl 5m', says: /--ttl and --mode want --deduplicate/ },
    { args: 'jobs enqueue heartbeat --deduplicate k --mode debounce', says: /--mode debounce wants --ttl/ },
    { args: 'schedules preview heartbeat --count 0', says: /whole number from 1 to .* got "0"/ },
    { args: 'schedules ticks x --outcome pausd', says: /one of waiting, .* got "pausd"\. Did you mean "paused"\?/ },
    { args: 'schedules ticks x --limit 1001', says: /whole number from 1 to 1000; got "1001"/ },
    { args: 'schedules pause x --until soon', says: /a duration such as 2h or an ISO time .* got "soon"/ },
    { args: 'schedules pause x --until 2020-01-01T00:00:00Z', says: /a time to come; got "2020-/ },
    { args: 'schedules pause x --until 0s', says: /a time to come; got "0s"/ },
    { args: 'pause', says: /takes --all; for one it is: rondo schedules pause <id>/ },
    { args: 'resume --json', says: /takes --all; for one it is: rondo schedules resume <id>/ },
    { args: 'worker --jobs ,', says: /one or more names.* got ","/ },
  ])('exits with 2 and says what is wrong: rondo $args', async ({ args, says }) => {
    const { code, stdout, stderr } = await runProgram(words(args), { env: { REDIS_URL: refused } });

    expect(stderr).toMatch(says);
    expect(stderr).not.toMatch(stackTrace);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });

  it('takes either --delay or --at, not both', async () => {
    const args = ['jobs', 'enqueue', 'heartbeat', '--delay', '5m', '--at', '2030-01-01T00:00:00Z'];

    const { code, stdout, stderr } = await runProgram(args);

    expect(stderr).toContain('either --delay or --at, not both');
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});

describe('help', () => {
  it.each(['--help', 'help', 'jobs --help', 'jobs enqueue --help', '--version'])(
    'is no failure: rondo %s',
    async (args) => {
      const { code, stdout, stderr } = await runProgram(words(args), { env: { REDIS_URL: refused } });

      expect(stdout).toMatch(args === '--version' ? /^\d+\.\d+\.\d+\S*\n$/ : /^Usage: rondo/);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    },
  );
});

const shopJobs = `
export default [
  defineJob({
    name: 'send-receipt',
    description: 'Mails a receipt',
    payload: z.object({ order: z.int().positive(), lines: z.array(z.object({ price: z.number() })) }),
    retry: { attempts: 4, backoff: 'fixed', delay: '3s' },
    timeout: '2m',
    run: () => 'sent',
  }),
  defineJob({
    name: 'close-day',
    schedules: [
      { id: 'close-day-paris', cron: '0 7 * * *', timezone: 'Europe/Paris' },
      { id: 'close-day-gap', cron: '30 2 * * *', timezone: 'Europe/Paris' },
    ],
    run: () => null,
  }),
  defineJob({ name: 'retired', enabled: false, run: () => null }),
];`;

describe('jobs', () => {
  it('are listed and shown without a Redis', async () => {
    const rondo = commands({ RONDO_JOBS: writeJobs(shopJobs), REDIS_URL: refused });

    const [list, listed, page, shown] = await Promise.all([
      rondo('jobs', 'list'),
      rondo.json('jobs', 'list'),
      rondo('jobs', 'show', 'send-receipt'),
      rondo.json('jobs', 'show', 'send-receipt'),
    ]);

    const [heading, ...rows] = list.split('\n');
    expect(heading).toMatch(/^JOB +IS +RUNS/);
    expect(rows[0]).toMatch(/^send-receipt +on +- +5 +2m +4 +Mails a receipt$/);
    expect(rows[1]).toMatch(/^close-day +on +At 07:00 \(Europe\/Paris\); At 02:30 \(Europe\/Paris\)/);
    expect(rows[2]).toMatch(/^retired +off/);
    expect(listed).toMatchObject([
      { name: 'send-receipt', attempts: 4, timeoutMs: 120_000, schedules: [], enabled: true },
      { name: 'close-day', schedules: ['close-day-paris', 'close-day-gap'] },
      { name: 'retired', enabled: false },
    ]);
    expect(page).toMatch(/attempts +4, fixed from 3s/);
    expect(page).toContain('It has no schedules.');
    expect(shown).toMatchObject({
      retry: { attempts: 4, backoff: 'fixed', delay: 3_000 },
      payloadSchema: { properties: { order: { type: 'integer' } }, required: ['order', 'lines'] },
    });
  });

  it('are the catalog where there is no module', async () => {
    const listed = await commands({ REDIS_URL: '' }).json('jobs', 'list');

    expect(listed).toEqual(expect.arrayContaining([expect.objectContaining({ name: 'heartbeat', enabled: true })]));
  });

  it('suggest the nearest name for one that does not exist', async () => {
    const rondo = commands({ RONDO_JOBS: writeJobs(shopJobs) });

    for (const args of [
      ['jobs', 'show'],
      ['jobs', 'enqueue'],
      ['runs', 'list', '--job'],
      ['worker', '--jobs'],
    ]) {
      const { code, stdout, stderr } = await rondo.attempt(...args, 'send-reciept');
      expect(stderr).toBe('rondo: There is no such job: "send-reciept" (did you mean "send-receipt"?) [job-unknown]\n');
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    }
  });
});

describe('runs', () => {
  const payload = '{"order":7,"lines":[]}';

  it('are enqueued now, later, or at a time, and then listed and shown', async () => {
    const { rondo } = await shop();

    const text = await rondo('jobs', 'enqueue', 'send-receipt', '--payload', payload);
    const { job, id } = await rondo.json('jobs', 'enqueue', 'send-receipt', '--payload', payload, '--priority', '3');
    const late = await rondo.json('jobs', 'enqueue', 'send-receipt', '--payload', payload, '--delay', '1h');
    const at = '2099-05-01T07:00:00.000Z';
    const dated = await rondo.json('jobs', 'enqueue', 'send-receipt', '--payload', payload, '--at', at);

    expect(text).toMatch(/^send-receipt \d+ is enqueued\n$/);
    expect(job).toBe('send-receipt');
    const shown = await rondo.json('runs', 'show', 'send-receipt', id);
    expect(shown).toMatchObject({ id, state: 'waiting', attempts: 0, maxAttempts: 4, payload: { order: 7 }, log: [] });
    expect(await rondo('runs', 'show', 'send-receipt', id)).toMatch(/payload +\{"order":7,"lines":\[\]\}/);
    const delayed = await rondo.json('runs', 'list', '--job', 'send-receipt', '--state', 'delayed');
    expect(delayed.map((run: { id: string }) => run.id).sort()).toEqual([late.id, dated.id].sort());
    const due = delayed.find((run: { id: string }) => run.id === dated.id).dueAt;
    expect(Math.abs(Date.parse(due) - Date.parse(at))).toBeLessThan(50); // told to BullMQ as a delay
    expect(await rondo.json('runs', 'list')).toHaveLength(4);
    expect(await rondo.json('runs', 'list', '--limit', '3')).toHaveLength(3);
    const [heading, ...rows] = (await rondo('runs', 'list', '--state', 'waiting')).trimEnd().split('\n');
    expect(heading).toMatch(/^JOB +RUN +STATE/);
    expect(rows).toHaveLength(2);
  });

  it('say that there are none', async () => {
    const { rondo } = await shop();

    expect(await rondo('runs', 'list')).toBe('There are no such runs.\n');
    expect(await rondo.json('runs', 'list', '--state', 'failed')).toEqual([]);
  });

  it('are refused with everything that their payload gets wrong: path, expectation, and what came', async () => {
    const { rondo } = await shop();
    const wrong = '{"order":-1,"lines":[{"price":2},{"price":"free"}]}';

    const { code, stdout, stderr } = await rondo.attempt('jobs', 'enqueue', 'send-receipt', '--payload', wrong);

    expect(stderr.split('\n')).toEqual([
      "rondo: The payload does not fit the job's schema: send-receipt",
      '  payload.order: expected more than 0; got -1',
      '  payload.lines[1].price: expected a number; got "free" [payload-invalid]',
      '',
    ]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(await rondo.json('runs', 'list')).toEqual([]);
  });

  it('are not taken by a disabled job', async () => {
    const { rondo } = await shop();

    const { code, stderr } = await rondo.attempt('jobs', 'enqueue', 'retired');

    expect(stderr).toContain('The job is disabled: retired');
    expect(code).toBe(1);
  });

  it('that do not exist are a failure', async () => {
    const { rondo } = await shop();

    const { code, stdout, stderr } = await rondo.attempt('runs', 'show', 'send-receipt', 'r-404', '--json');

    expect(stderr).toBe('rondo: There is no such run: send-receipt r-404 [run-unknown]\n');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  });

  async function shop() {
    const { prefix } = await fixture([]);
    return { rondo: commands({ RONDO_JOBS: writeJobs(shopJobs), RONDO_PREFIX: prefix }) };
  }
});

describe('schedules', () => {
  it('are planned, applied and healed, with their next times before and after', async () => {
    const { broker, prefix } = await fixture([]);
    const folder = freshFolder();
    const rondo = commands({ RONDO_JOBS: join(folder, 'jobs.mjs'), RONDO_PREFIX: prefix });
    const declare = (schedules: string) =>
      writeJobs(`export default [defineJob({ name: 'tidy', schedules: ${schedules}, run: () => null })];`, { folder });
    const [first, second] = ['2098-01-01T00:00:00Z', '2099-01-01T00:00:00Z'];

    declare(`[{ id: 'stays', at: '${first}' }, { id: 'moves', at: '${first}' }, { id: 'goes', at: '${first}' }]`);
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
    declare(`[{ id: 'stays', at: '${first}' }, { id: 'moves', at: '${second}' }]`);
    const planned = await rondo.json('schedules', 'plan');
    const changes = [
      { kind: 'heal', id: 'stays', job: 'tidy', before: null, after: first, why: 'its scheduler is gone' },
      { kind: 'change', id: 'moves', job: 'tidy', before: first, after: second, why: 'another timing' },
      { kind: 'remove', id: 'goes', job: 'tidy', before: first, after: null, why: 'no longer declared' },
    ];
    const plan = { changes, unchanged: 0, conflicts: [], refused: null };
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

  it('are not removed by the half unless somebody says --yes', async () => {
    const { prefix } = await fixture([]);
    const folder = freshFolder();
    const rondo = commands({ RONDO_JOBS: join(folder, 'jobs.mjs'), RONDO_PREFIX: prefix });
    const declare = (ids: string[]) => {
      const schedules = ids.map((id) => `{ id: '${id}', cron: '@yearly' }`).join(', ');
      writeJobs(`export default [defineJob({ name: 'tidy', schedules: [${schedules}], run: () => null })];`, {
        folder,
      });
    };
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    declare(ids);
    await rondo('schedules', 'apply');

    declare(['a']);
    const refusal = await rondo.attempt('schedules', 'apply');
    expect(refusal.stdout).toContain('Refused to remove 5 of 6 schedules (apply --yes does it): b, c, d, e, f.');
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
    const { rondo, folder } = await withLedger();
    writeJobs(`export default [defineJob({ name: 'tidy', run: () => null })];`, { folder });
    await rondo('schedules', 'apply');

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

    const reading = runShell('$rondo schedules ticks nightly --follow --json | head -n 1', { env });
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

describe('schedules in operation', () => {
  it('are paused, with who, why and until when for others to read, and go on', async () => {
    const { rondo } = await applied();
    const until = '2099-01-01T00:00:00Z';

    expect(await rondo('schedules', 'pause', 'a', '--note', 'import', '--until', until)).toBe(
      `a is paused until ${until}\n`,
    );
    const { pause } = await rondo.json('schedules', 'pause', 'b', '--by', 'the night shift', '--until', '90m');
    expect(pause).toMatchObject({ by: 'the night shift', note: '' });
    expect(Math.abs(Date.parse(pause.until) - Date.now() - 90 * 60_000)).toBeLessThan(10_000);

    const shown = await rondo('schedules', 'show', 'a');
    expect(shown).toMatch(/^health +paused$/m);
    expect(shown).toMatch(new RegExp(`^paused +by \\S+@\\S+, until ${until}, since \\S+$`, 'm'));
    expect(shown).toMatch(/^note +import$/m);
    expect(await rondo.json('schedules', 'list')).toMatchObject([
      { id: 'a', health: 'paused', pause: { note: 'import', until } },
      { id: 'b', health: 'paused', pause: { by: 'the night shift' } },
      { id: 'c', health: 'sound', pause: null },
    ]);
    expect(await rondo('schedules', 'resume', 'a')).toBe('a goes on\n');
    expect(await rondo('schedules', 'resume', 'a')).toBe('a was not paused\n');
    expect(await rondo.json('schedules', 'resume', 'b')).toEqual({ id: 'b', resumed: true });
    expect(await rondo.json('schedules', 'resume', 'b')).toEqual({ id: 'b', resumed: false });
  });

  it('are all paused at once; a pause that somebody made for longer keeps its note', async () => {
    const { rondo } = await applied();
    await rondo('schedules', 'pause', 'a', '--note', 'for good');
    await rondo('schedules', 'pause', 'b', '--note', 'for a moment', '--until', '1m');
    const until = '2099-01-01T00:00:00Z';

    expect(await rondo('pause', '--all', '--note', 'outage', '--until', until)).toBe(
      `2 of 3 schedules are paused until ${until}; paused for as long already: 1\n`,
    );

    const views = await rondo.json('schedules', 'list');
    expect(views.map(({ pause }: { pause: { note: string } }) => pause.note)).toEqual(['for good', 'outage', 'outage']);
    expect(await rondo.json('pause', '--all')).toMatchObject({ total: 3, changed: 2, left: 1, pause: { until: null } });
    expect(await rondo.json('resume', '--all')).toEqual({ total: 3, changed: 3, left: 0 });
    expect(await rondo('resume', '--all')).toBe('0 of 3 schedules go on; 3 were not paused\n');
  });

  it('are triggered, which is a run and no tick', async () => {
    const { rondo } = await applied();

    const { job, run } = await rondo.json('schedules', 'trigger', 'a');

    expect(job).toBe('tidy');
    expect(await rondo.json('runs', 'show', job, run)).toMatchObject({
      ...{ state: 'waiting', origin: 'triggered', schedule: 'a', tick: null, payload: { n: 1 } },
    });
    expect(await rondo('runs', 'show', job, run)).toMatch(/^came +triggered for a$/m);
    expect(await rondo('schedules', 'trigger', 'b')).toMatch(/^tidy trigger:b:\w+ is enqueued\n$/);
    await rondo('jobs', 'enqueue', 'tidy');
    const came = rowsOf(await rondo('runs', 'list', '--state', 'waiting')).map((row) => row[3]);
    expect(came.sort()).toEqual(['CAME', 'ad-hoc', 'triggered for a', 'triggered for b']);
    expect(await rondo.json('schedules', 'show', 'a')).toMatchObject({ runs: 0, ticks: [] });
    const scheduled = await rondo.json('runs', 'list', '--state', 'delayed');
    expect(scheduled[0]).toMatchObject({ origin: 'scheduled', schedule: expect.stringMatching(/^[abc]$/) });
  });

  it('are removed where no code declares them, and refused where it does', async () => {
    const { rondo, broker } = await applied();

    const { code, stderr } = await rondo.attempt('schedules', 'remove', 'a');
    expect(stderr).toBe(
      'rondo: The schedule is declared in code: change it there: a by code:ours [schedule-declared]\n',
    );
    expect(code).toBe(1);

    await updateEntry(broker, 'a', (entry) => entry && { ...entry, owner: 'api' });
    expect(await rondo.json('schedules', 'remove', 'a')).toEqual({ id: 'a', removed: true, stillRuns: [] });
    const views = await rondo.json('schedules', 'list');
    expect(views.map(({ id }: { id: string }) => id)).toEqual(['b', 'c']);
  });

  async function applied() {
    const { broker, prefix } = await fixture([]);
    const schedules = ['a', 'b', 'c'].map((id) => `{ id: '${id}', cron: '@yearly', payload: { n: 1 } }`).join();
    const module = writeJobs(
      `export default [defineJob({ name: 'tidy', payload: z.any(), schedules: [${schedules}], run: () => null })];`,
    );
    const rondo = commands({ RONDO_JOBS: module, RONDO_PREFIX: prefix, RONDO_APP: 'ours' });
    await rondo('schedules', 'apply');
    return { rondo, broker };
  }
});

describe('output to a pipe', () => {
  const long = 'schedules preview heartbeat --count 10000 --json';

  it('is complete, however long it is and however slowly it is read', async () => {
    const { stdout } = await runShell(`$rondo ${long} | { sleep 1; cat; }`);

    expect(JSON.parse(stdout).times).toHaveLength(10_000);
  });

  it('may be cut off by its reader, without a complaint', async () => {
    const { stdout, stderr } = await runShell(`$rondo ${long} | head -n 1`);

    expect({ stdout, stderr }).toEqual({ stdout: '{\n', stderr: '' });
  });
});

describe('wrong settings', () => {
  it.each<{ env: Record<string, string>; says: RegExp }>([
    { env: { REDIS_URL: 'localhost:6379' }, says: /REDIS_URL: expected redis:\/\/.*; got/ },
    { env: { REDIS_URL: 'https://example.org' }, says: /REDIS_URL: expected redis:\/\// },
    { env: { REDIS_URL: 'redis://localhost/first' }, says: /REDIS_URL: expected redis:\/\/.*\/database/ },
    { env: { RONDO_PREFX: 'x' }, says: /RONDO_PREFX: expected no such setting \(did you mean RONDO_PREFIX\?\)/ },
    { env: { RONDO_PREFIX: 'a b' }, says: /RONDO_PREFIX: expected up to 50 letters.*; got "a b"/ },
    { env: { LOG_LEVEL: 'loud' }, says: /LOG_LEVEL: expected one of .*"info".*; got "loud"/ },
    { env: { SHUTDOWN_GRACE: '1 minute' }, says: /SHUTDOWN_GRACE: expected a duration .*; got "1 minute"/ },
    { env: { NODE_ENV: 'production', REDIS_URL: '' }, says: /REDIS_URL: expected .*production; got nothing/ },
  ])('are one clear message, whatever the command: $env', async ({ env, says }) => {
    const outcomes = await Promise.all([runProgram(['worker'], { env }), runProgram(['runs', 'list'], { env })]);

    for (const { code, stdout, stderr } of outcomes) {
      expect(stderr).toMatch(/^rondo: The settings are wrong\n {2}\S+: expected .*; got .* \[config-invalid\]\n$/);
      expect(stderr).toMatch(says);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    }
  });

  it('are told all at once', async () => {
    const env = { REDIS_URL: 'nonsense', LOG_LEVEL: 'loud', SHUTDOWN_GRACE: '-1s', RONDO_JOB: './jobs.mjs' };

    const { code, stderr } = await runProgram(['worker'], { env });

    for (const key of Object.keys(env)) expect(stderr).toContain(`\n  ${key}: expected`);
    expect(code).toBe(1);
  });

  it('name REDIS_URL where Redis refuses, whatever the command', async () => {
    const commands = ['start', 'producer', 'worker', 'runs list', 'schedules plan'];

    const outcomes = await Promise.all(
      commands.map((command) => runProgram(words(command), { env: { REDIS_URL: refused } })),
    );

    const stderr = `rondo: Redis cannot be used: REDIS_URL is ${refused}: connect ECONNREFUSED 127.0.0.1:1 [redis-unreachable]\n`;
    for (const outcome of outcomes) expect(outcome).toMatchObject({ code: 1, stdout: '', stderr });
  });

  it('never show a secret', async () => {
    const secret = 'hunter2-s3cret';
    const addresses = [
      `redis://:${secret}@127.0.0.1:1`,
      `redis://user:${secret}@127.0.0.1:1/0?password=${secret}`,
      `redis://user:${secret}@127.0.0.1:1/nodatabase`,
      `redis://user:${secret}@127.0.0.1:port`,
      `redis://user:${secret}/with@slash@127.0.0.1:1`,
      `rediss//user:${secret}@127.0.0.1:1`,
      `redis+cluster://user:${secret}@127.0.0.1:1,127.0.0.1:2`,
      `redis+cluster://user:${secret}@127.0.0.1:1,127.0.0.1:seven`,
      secret,
    ];
    const env = { LOG_LEVEL: 'trace' };
    const outcomes = await Promise.all(
      addresses.map((REDIS_URL) => runProgram(['producer'], { env: { ...env, REDIS_URL } })),
    );

    for (const [index, { code, stdout, stderr }] of outcomes.entries()) {
      expect(stderr, addresses[index]).toContain('REDIS_URL');
      expect(stdout + stderr, addresses[index]).not.toContain('s3cret');
      expect(code).toBe(1);
    }
  });

  it('name REDIS_URL where it is not set and the command wants a Redis', async () => {
    const { code, stderr } = await runProgram(['schedules', 'list'], { env: { REDIS_URL: '' } });

    expect(stderr).toMatch(/^rondo: Redis cannot be used: REDIS_URL is not set.*\[redis-unreachable\]\n$/);
    expect(code).toBe(1);
  });
});

describe.skipIf(!hasRedisServer())('a Redis with a password', () => {
  it('is used with the right one, and refuses a wrong one without showing it', async () => {
    const redis = await startRedis({ args: ['--requirepass', 'right-s3cret'] });
    onTestFinished(() => redis.stop());
    const at = (password: string) => ({ env: { REDIS_URL: `redis://:${password}@127.0.0.1:${redis.port}` } });

    const [right, wrong, none] = await Promise.all([
      runProgram(['runs', 'list'], at('right-s3cret')),
      runProgram(['runs', 'list'], at('wrong-s3cret')),
      runProgram(['runs', 'list'], { env: { REDIS_URL: redis.url } }),
    ]);

    expect(right).toMatchObject({ code: 0, stderr: '' });
    for (const { code, stderr } of [wrong, none]) {
      expect(stderr).toMatch(
        /^rondo: Redis cannot be used: REDIS_URL is .*(WRONGPASS|NOAUTH).*\[redis-unreachable\]\n$/,
      );
      expect(stderr).not.toContain('s3cret');
      expect(code).toBe(1);
    }
  });
});

describe('a jobs module', () => {
  it('from a folder without packages of its own imports rondo and zod', async () => {
    const listed = await commands({ RONDO_JOBS: writeJobs(shopJobs) }).json('jobs', 'list');

    expect(listed.map((job: { name: string }) => job.name)).toEqual(['send-receipt', 'close-day', 'retired']);
  });

  it('may be named relative to the folder that the program is started in', async () => {
    const folder = freshFolder();
    writeJobs(shopJobs, { folder });

    const { code, stdout } = await runProgram(['jobs', 'list'], { cwd: folder, env: { RONDO_JOBS: './jobs.mjs' } });

    expect(stdout).toContain('send-receipt');
    expect(code).toBe(0);
  });

  it.each<{ case: string; source: string | null; says: RegExp }>([
    { case: 'is missing', source: null, says: /jobs\.mjs does not exist/ },
    { case: 'throws', source: `throw new Error('no database');`, says: /failed to load: no database/ },
    { case: 'throws what is no error', source: `throw 'nothing';`, says: /failed to load: nothing/ },
    { case: 'is no JavaScript', source: 'export default [', says: /failed to load: Unexpected end of input/ },
    {
      case: 'imports what is missing',
      source: `import './tools.mjs'; export default [];`,
      says: /failed to load: Cannot find module '.*tools\.mjs'/,
    },
    { case: 'exports nothing', source: '', says: /expected a list of jobs as the default export; got nothing/ },
    {
      case: 'exports a single job',
      source: `export default defineJob({ name: 'lonely', run: () => null });`,
      says: /expected a list of jobs as the default export; got/,
    },
    {
      case: 'lists a stranger',
      source: `export default [defineJob({ name: 'ours', run: () => null }), { name: 'theirs', run() {} }];`,
      says: /default\[1\]: expected a job made with defineJob; got \{"name":"theirs"\}/,
    },
  ])('that $case is one clear error, in a command and in a role', async ({ source, says }) => {
    const folder = freshFolder();
    if (source !== null) writeJobs(source, { folder });
    const env = { RONDO_JOBS: join(folder, 'jobs.mjs') };

    const outcomes = await Promise.all([
      runProgram(['jobs', 'list'], { env }),
      runProgram(['worker'], { env: { ...env, RONDO_PREFIX: freshPrefix() } }),
    ]);

    for (const { code, stdout, stderr } of outcomes) {
      expect(stderr).toMatch(says);
      expect(stderr).toMatch(/^rondo: The jobs module cannot be used: .*jobs\.mjs.*\[jobs-module\]\n$/s);
      expect(stderr).not.toMatch(stackTrace);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    }
  });

  it('with wrong definitions is refused with all that is wrong in all of them', async () => {
    const RONDO_JOBS = writeJobs(`
      export default [
        defineJob({ name: 'Wrong Name', run: () => null }),
        defineJob({ name: 'hasty', timeout: '0s', concurency: 3, run: () => null }),
        defineJob({ name: 'odd', schedules: [{ id: 'odd', cron: '0 0 30 2 *' }, { id: 'far', cron: '@daily', timezone: 'Europe/Pariss' }], run: () => null }),
        defineJob({ name: 'twin', payload: z.object({ region: z.string() }), schedules: [{ id: 'odd', every: 1.5 }], run: () => null }),
        defineJob({ name: 'twin' }),
      ];`);

    const { code, stdout, stderr } = await runProgram(['start'], { env: { RONDO_JOBS, REDIS_URL: '' } });

    for (const line of [
      /^ {2}Wrong Name: name: expected a name of .*; got "Wrong Name"/m,
      /^ {2}hasty: timeout: expected a duration .*; got "0s"/m,
      /^ {2}hasty: concurency: expected no such option \(did you mean "concurrency"\?\); got 3/m,
      /^ {2}odd: schedules\[0\]\.cron: expected a cron that fires at some time; got "0 0 30 2 \*"/m,
      /^ {2}odd: schedules\[1\]\.timezone: expected an IANA time zone .*; got "Europe\/Pariss"/m,
      /^ {2}twin: schedules\[0\]\.every: expected a duration .*; got 1\.5/m,
      /^ {2}twin: schedules\[0\]\.payload\.region: expected a string; got nothing/m,
      /^ {2}twin: run: expected a function; got nothing/m,
      /^ {2}twin: name: expected a name of its own among all jobs; got "twin" again/m,
    ]) {
      expect(stderr).toMatch(line);
    }
    expect(stderr).toMatch(/^rondo: The job definitions are wrong\n/);
    expect(stderr).not.toMatch(stackTrace);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  });
});

/** The command line under some settings: what it prints where it succeeds, and all of it from `attempt`. */
function commands(env: ProgramOptions['env']) {
  const attempt = (...args: string[]) => runProgram(args, { env });
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await attempt(...args);
    expect({ code, stderr }, args.join(' ')).toEqual({ code: 0, stderr: '' });
    return stdout;
  };
  const json = async (...args: string[]) => JSON.parse(await run(...args, '--json'));
  return Object.assign(run, { attempt, json });
}

function words(line: string): string[] {
  return line.split(' ').filter(Boolean);
}

/** The cells of a printed table, line by line; columns are two or more spaces apart. */
function rowsOf(text: string): string[][] {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line) => line.trim().split(/ {2,}/));
}
