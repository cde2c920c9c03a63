import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { fixture, freshPrefix } from '../support/harness.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { type ProgramOptions, runProgram, runShell } from '../support/processes.js';
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
    { args: 'runs list --limit 1e3', says: /whole number from 1 to 1000; got "1e3"/ },
    { args: 'schedules preview heartbeat --count 0', says: /whole number from 1 to .* got "0"/ },
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
    expect(planned).toEqual({ changes, unchanged: 0, conflicts: [], refused: null });
    expect(await rondo.json('schedules', 'apply')).toEqual({ ...planned, failed: [] });

    expect(await rondo.json('schedules', 'list')).toMatchObject([
      { id: 'moves', job: 'tidy', next: second, health: 'sound' },
      { id: 'stays', job: 'tidy', next: first, health: 'sound' },
    ]);
    expect(rowsOf(await rondo('schedules', 'list'))[1]?.slice(0, 5)).toEqual([
      ...['moves', 'tidy', 'Once, at 2099-01-01T00:00:00.000Z', second, 'sound'],
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

    for (const verb of ['show', 'preview']) {
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
      ['UTC', 'LOCAL'],
      ['2026-10-24T05:00:00Z', 'Sat, 24/10/2026, 07:00 CEST'],
      ['2026-10-25T06:00:00Z', 'Sun, 25/10/2026, 07:00 CET'],
    ]);
    expect(spring).toEqual({
      id: 'close-day-gap',
      times: [
        { time: '2026-03-28T01:30:00Z', local: 'Sat, 28/03/2026, 02:30 CET' },
        { time: '2026-03-29T01:00:00Z', local: 'Sun, 29/03/2026, 03:00 CEST' },
        { time: '2026-03-30T00:30:00Z', local: 'Mon, 30/03/2026, 02:30 CEST' },
      ],
    });
  });

  const from = (day: string) => ['--from', `${day}T00:00:00Z`];
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
