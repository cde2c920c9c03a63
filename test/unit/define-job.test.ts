import { describe, expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import type { Problem } from '../../src/errors.js';
import { defineJob, isJobDefinition, type JobDefinition } from '../../src/jobs/define-job.js';

const run = () => null;
const asked = { id: 'nightly', cron: '0 3 * * *' };

/** A definition as plain JavaScript may write it. */
function define(options: unknown): JobDefinition {
  return defineJob(options as { name: string; run: () => null });
}

function problemsOf(options: unknown): readonly Problem[] {
  return define(options).problems;
}

/** What is wrong with a job that would be right without these options. */
function refusals(options: object): readonly Problem[] {
  return problemsOf({ name: 'report', run, ...options });
}

function refusalsOfSchedule(schedule: object): readonly Problem[] {
  return refusals({ schedules: [{ ...asked, ...schedule }] });
}

describe('defineJob', () => {
  test('fills in every default', () => {
    const job = defineJob({ name: 'report', run });
    expect(job).toMatchObject({
      name: 'report',
      description: '',
      schedules: [],
      retry: { attempts: 3, backoff: 'exponential', delay: 1_000, maxDelay: 300_000, jitter: 0.2 },
      timeout: 30_000,
      concurrency: 5,
      rateLimit: null,
      priority: null,
      maxCrashes: 3,
      maxWaiting: null,
      version: 1,
      retention: {
        completed: { age: 24 * 3_600_000, count: 1_000 },
        failed: { age: 14 * 24 * 3_600_000, count: 5_000 },
      },
      enabled: true,
      problems: [],
    });
    expect(job.payload.parse({})).toEqual({});
    expect(job.run).toBe(run);
  });

  test('takes the time zone of a schedule for UTC, its payload for {}, and the schedule for enabled', () => {
    expect(defineJob({ name: 'report', schedules: [{ id: 'nightly', cron: '0 3 * * *' }], run }).schedules).toEqual([
      {
        id: 'nightly',
        description: '',
        timing: { kind: 'cron', cron: '0 3 * * *', timezone: 'UTC' },
        policy: { misfire: 'run-once', grace: 60_000, maxCatchUp: 100 },
        overlap: 'allow',
        lateAfter: null,
        next: undefined,
        payload: {},
        healthcheck: null,
        enabled: true,
        triggerOnStart: false,
      },
    ]);
  });

  test('keeps what it is told, durations in ms', () => {
    const job = defineJob({
      name: 'report',
      retry: { attempts: 5, backoff: 'linear', delay: '10s', maxDelay: '10m', jitter: 0 },
      timeout: '2m',
      concurrency: 4,
      rateLimit: { max: 10, per: '1s' },
      priority: 7,
      retention: { completed: { count: 5 }, failed: { age: '1d' } },
      enabled: false,
      run,
    });
    expect(job).toMatchObject({
      retry: { attempts: 5, backoff: 'linear', delay: 10_000, maxDelay: 600_000, jitter: 0 },
      timeout: 120_000,
      concurrency: 4,
      rateLimit: { max: 10, per: 1_000 },
      priority: 7,
      retention: { completed: { age: 86_400_000, count: 5 }, failed: { age: 86_400_000, count: 5_000 } },
      enabled: false,
      problems: [],
    });
  });

  test('fills in the rest of a policy that is told in part', () => {
    const job = defineJob({ name: 'report', retry: { attempts: 1 }, retention: { failed: {} }, run });
    expect(job.retry).toEqual({ attempts: 1, backoff: 'exponential', delay: 1_000, maxDelay: 300_000, jitter: 0.2 });
    expect(job.retention.failed.count).toBe(5_000);
  });

  test('reads every kind of schedule', () => {
    const next = () => null;
    const startsAt = '2026-11-21T07:00:00+01:00';
    const { schedules, problems } = defineJob({
      name: 'report',
      schedules: [
        { id: 'a', cron: '@daily', timezone: 'Europe/Paris', startsAt, endsAt: new Date(Date.UTC(2027, 0)) },
        { id: 'b', every: '15m', startsAt: '2026-11-21' },
        { id: 'c', at: '2026-11-21T07:00Z', enabled: false },
        { id: 'd', next, triggerOnStart: true },
      ],
      run,
    });
    expect(problems).toEqual([]);
    expect(schedules.map(({ timing }) => timing)).toEqual([
      {
        kind: 'cron',
        cron: '@daily',
        timezone: 'Europe/Paris',
        startsAt: Date.UTC(2026, 10, 21, 6),
        endsAt: Date.UTC(2027, 0),
      },
      { kind: 'every', every: 900_000, startsAt: Date.UTC(2026, 10, 21) },
      { kind: 'at', at: Date.UTC(2026, 10, 21, 7) },
      { kind: 'next' },
    ]);
    expect(schedules[2]?.enabled).toBe(false);
    expect(schedules[3]).toMatchObject({ next, triggerOnStart: true });
  });

  test('takes a schedule that ends where it starts: that moment may be a tick', () => {
    const bounds = { startsAt: '2026-11-21T07:00:00Z', endsAt: '2026-11-21T07:00:00Z' };
    expect(defineJob({ name: 'report', schedules: [{ ...asked, ...bounds }], run }).problems).toEqual([]);
  });

  test('makes what isJobDefinition knows', () => {
    expect(isJobDefinition(defineJob({ name: 'report', run }))).toBe(true);
    for (const other of [null, 42, {}, { name: 'report', run }]) expect(isJobDefinition(other)).toBe(false);
  });
});

describe('the types of a job', () => {
  test('the handler gets the payload as the schema leaves it, and the definition knows its result', () => {
    type Digest = { region: 'eu' | 'us'; limit: number };
    type DigestInput = { region: 'eu' | 'us'; limit?: number | undefined };
    const job = defineJob({
      name: 'digest',
      payload: z.object({ region: z.enum(['eu', 'us']), limit: z.number().default(10) }),
      schedules: [{ id: 'digest-eu', cron: '0 7 * * *', payload: { region: 'eu' } }],
      async run({ payload, tick, signal }) {
        expectTypeOf(payload).toEqualTypeOf<{ region: 'eu' | 'us'; limit: number }>();
        expectTypeOf(tick).toEqualTypeOf<{ readonly schedule: string; readonly time: Date } | null>();
        expectTypeOf(signal).toEqualTypeOf<AbortSignal>();
        return { mailed: payload.limit };
      },
    });
    expectTypeOf(job).toEqualTypeOf<JobDefinition<Digest, { mailed: number }, DigestInput, 'digest'>>();
    expect(job.problems).toEqual([]);
  });

  test('wrong definitions do not compile, and are refused all the same', () => {
    const payload = z.object({ region: z.enum(['eu', 'us']) });
    // @ts-expect-error a schedule must give the payload that its job takes
    const missing = defineJob({ name: 'digest', payload, schedules: [asked], run });
    // @ts-expect-error asia is no region
    const wrong = defineJob({ name: 'digest', payload, schedules: [{ ...asked, payload: { region: 'asia' } }], run });
    // @ts-expect-error a schedule is of one kind
    const both = defineJob({ name: 'digest', schedules: [{ id: 'a', cron: '@daily', every: '1h' }], run });
    // @ts-expect-error a duration has a unit
    const unit = defineJob({ name: 'digest', timeout: '10 seconds', run });
    // @ts-expect-error there is no such option
    const misspelt = defineJob({ name: 'digest', retry: { atempts: 3 }, run });
    for (const job of [missing, wrong, both, unit, misspelt]) expect(job.problems).toHaveLength(1);
  });

  test('migrate() answers what the schema takes, from a payload that nobody knows the type of', () => {
    const payload = z.object({ region: z.enum(['eu', 'us']).default('eu') });
    const job = defineJob({
      name: 'digest',
      version: 2,
      payload,
      migrate: (stored) => {
        expectTypeOf(stored).toEqualTypeOf<{ readonly payload: unknown; readonly version: number }>();
        return {};
      },
      run,
    });
    expect(job).toMatchObject({ version: 2, problems: [] });
    // @ts-expect-error asia is no region
    defineJob({ name: 'digest', version: 2, payload, migrate: () => ({ region: 'asia' }), run });
    // @ts-expect-error a payload is migrated at once
    defineJob({ name: 'digest', version: 2, payload, migrate: async () => ({}), run });
  });

  test.each([
    ['migrate', { migrate: () => ({}) }, /set version to 2 or more/, 'a function'],
    ['migrate', { version: 2, migrate: 'later' }, /a function/, '"later"'],
    ['version', { version: 0 }, /at least 1/, '0'],
    ['version', { version: '2' }, /a number/, '"2"'],
    ['version', { version: 1.5 }, /a whole number/, '1.5'],
    ['maxCrashes', { maxCrashes: 0 }, /at least 1/, '0'],
    ['maxCrashes', { maxCrashes: 1_001 }, /at most 1000/, '1001'],
    ['maxWaiting', { maxWaiting: 0 }, /at least 1/, '0'],
    ['maxWaiting', { maxWaiting: '10k' }, /a number/, '"10k"'],
    ['maxWaitng', { maxWaitng: 5 }, /did you mean "maxWaiting"/, '5'],
  ])('%s is refused as %j', (field, options, expected, got) => {
    expect(refusals(options)).toEqual([{ where: `report: ${field}`, expected: expect.stringMatching(expected), got }]);
  });
});

describe('a wrong definition', () => {
  test.each([
    ['an unknown zone', { timezone: 'Europe/Pariss' }, 'timezone', /IANA time zone/, '"Europe/Pariss"'],
    ['an offset for a zone', { timezone: '+02:00' }, 'timezone', /IANA time zone/, '"+02:00"'],
    ['a cron that never fires', { cron: '0 0 30 2 *' }, 'cron', /fires at some time/, '"0 0 30 2 *"'],
    ['a cron that is none', { cron: 'every day' }, 'cron', /5 or 6 fields/, '"every day"'],
    ['a cron with an hour too many', { cron: '0 24 * * *' }, 'cron', /5 or 6 fields.*hour/, '"0 24 * * *"'],
    ['an empty cron', { cron: '', timezone: 'UTC' }, 'cron', /5 or 6 fields/, '""'],
    ['a single time for a cron', { cron: '2026-11-21T07:00:00Z' }, 'cron', /"at"/, '"2026-11-21T07:00:00Z"'],
    ['a cron that is no text', { cron: 5 }, 'cron', /a string/, '5'],
    ['an id outside the pattern', { id: 'Nightly Run' }, 'id', /small letters, digits and hyphens/, '"Nightly Run"'],
    ['no id', { id: undefined }, 'id', /a string/, 'nothing'],
    [
      'a day that does not exist',
      { startsAt: '2026-02-30T00:00:00Z' },
      'startsAt',
      /ISO time/,
      '"2026-02-30T00:00:00Z"',
    ],
    [
      'a time without a zone',
      { endsAt: '2026-11-21T07:00:00' },
      'endsAt',
      /ISO time with a zone/,
      '"2026-11-21T07:00:00"',
    ],
    ['a date that is none', { startsAt: new Date(Number.NaN) }, 'startsAt', /ISO time/, 'null'],
    ['a next that is no function', { cron: undefined, next: '1h' }, 'next', /a function/, '"1h"'],
    ['enabled that is no boolean', { enabled: 'yes' }, 'enabled', /a boolean/, '"yes"'],
    [
      'an end before the start',
      { startsAt: '2026-11-21T07:00:00Z', endsAt: '2026-11-21T06:59:59Z' },
      'endsAt',
      /at or after startsAt/,
      '"2026-11-21T06:59:59Z"',
    ],
    ['two kinds at once', { every: '1h' }, 'every', /exactly one of cron, every, at, next, not cron and every/, '"1h"'],
    ['no kind', { cron: undefined }, 'cron', /exactly one of cron, every, at, next, not none/, 'nothing'],
    ['a zone for an interval', { cron: undefined, every: '1h', timezone: 'UTC' }, 'timezone', /only cron/, '"UTC"'],
    ['a misspelt option', { timeZone: 'UTC' }, 'timeZone', /did you mean "timezone"/, '"UTC"'],
  ])('with a schedule that has %s is refused', (_, schedule, field, expected, got) => {
    expect(refusalsOfSchedule(schedule)).toEqual([
      { where: `report: schedules[0].${field}`, expected: expect.stringMatching(expected), got },
    ]);
  });

  test.each([0, -1, 1.5, '0s', '-5m', '1.5h', '5 minutes', '5', Number.NaN, null])(
    'with every: %j is refused',
    (every) => {
      expect(refusals({ schedules: [{ id: 'a', every }] })).toEqual([
        {
          where: 'report: schedules[0].every',
          expected: expect.stringContaining("'10s', '5m'"),
          got: expect.any(String),
        },
      ]);
    },
  );

  test.each([
    ['a timeout of nothing', { timeout: 0 }, 'timeout', /at least 1ms/, '0'],
    ['a timeout beyond what timers hold', { timeout: '25d' }, 'timeout', /at most 24d/, '"25d"'],
    ['no concurrency', { concurrency: 0 }, 'concurrency', /at least 1/, '0'],
    ['a concurrency that is not whole', { concurrency: 1.5 }, 'concurrency', /a whole number/, '1.5'],
    ['no attempts', { retry: { attempts: 0 } }, 'retry.attempts', /at least 1/, '0'],
    [
      'an unknown backoff',
      { retry: { backoff: 'expo' } },
      'retry.backoff',
      /"fixed", "linear", "exponential"/,
      '"expo"',
    ],
    ['a jitter above 1', { retry: { jitter: 20 } }, 'retry.jitter', /at most 1/, '20'],
    ['a negative delay', { retry: { delay: -1 } }, 'retry.delay', /a duration/, '-1'],
    ['a rate without its period', { rateLimit: { max: 10 } }, 'rateLimit.per', /a duration/, 'nothing'],
    ['a priority of 0', { priority: 0 }, 'priority', /at least 1/, '0'],
    [
      'a retention of less than nothing',
      { retention: { failed: { count: -1 } } },
      'retention.failed.count',
      /at least 0/,
      '-1',
    ],
    ['a payload that is no schema', { payload: { region: 'eu' } }, 'payload', /a zod schema/, '{"region":"eu"}'],
    ['schedules that are no list', { schedules: {} }, 'schedules', /an array/, '{}'],
    ['a run that is no function', { run: 'later' }, 'run', /a function/, '"later"'],
    ['no run', { run: undefined }, 'run', /a function/, 'nothing'],
    ['a misspelt option', { concurency: 5 }, 'concurency', /did you mean "concurrency"/, '5'],
    ['a misspelt option of retry', { retry: { atempts: 5 } }, 'retry.atempts', /did you mean "attempts"/, '5'],
    [
      'a misspelt option of retention',
      { retention: { failled: {} } },
      'retention.failled',
      /did you mean "failed"/,
      '{}',
    ],
    ['an option in the wrong place', { attempts: 5 }, 'attempts', /^no such option$/, '5'],
  ])('with %s is refused', (_, options, field, expected, got) => {
    expect(refusals(options)).toEqual([{ where: `report: ${field}`, expected: expect.stringMatching(expected), got }]);
  });

  test('with a misspelt kind is told the nearest right one, and not that it has no kind', () => {
    expect(refusals({ schedules: [{ id: 'a', crn: '@daily', timezone: 'UTC' }] })).toEqual([
      { where: 'report: schedules[0].crn', expected: 'no such option (did you mean "cron"?)', got: '"@daily"' },
    ]);
  });

  test.each(['', 'Report', 'send_email', '-report', 'send email', 'a:b', 'x'.repeat(65), 'é'])(
    'named %j is refused',
    (name) => {
      expect(problemsOf({ name, run })).toEqual([
        { where: `${name}: name`, expected: expect.stringMatching(/1 to 64 small letters/), got: `"${name}"` },
      ]);
    },
  );

  test.each(['a', '0', 'send-email', 'x'.repeat(64), 'a-'])('named %j is none', (name) => {
    expect(problemsOf({ name, run })).toEqual([]);
  });

  test('without a name says so', () => {
    expect(problemsOf({ run })).toEqual([
      { where: '(a job without a name): name', expected: 'a string', got: 'nothing' },
    ]);
  });

  test.each([null, 42, 'report', undefined, run])(
    'that is %j has one problem, and a handler that does nothing',
    (options) => {
      const job = define(options);
      expect(job.problems).toEqual([
        { where: expect.stringContaining('(a job without a name)'), expected: 'an object', got: expect.any(String) },
      ]);
      expect(isJobDefinition(job)).toBe(true);
      expect(job.schedules).toEqual([]);
    },
  );

  test('that is an array, or holds odd schedules, is refused without a throw', () => {
    expect(problemsOf([]).length).toBeGreaterThan(0);
    const odd = refusals({ schedules: [null, 42, 'x', []] }).map(({ where }) => where);
    for (const index of [0, 1, 2, 3]) expect(odd).toContainEqual(expect.stringContaining(`schedules[${index}]`));
  });

  test('tells everything that is wrong at once', () => {
    const problems = problemsOf({
      name: 'Report',
      payload: z.object({ region: z.enum(['eu', 'us']) }),
      schedules: [
        { id: 'a b', cron: '0 0 30 2 *', timezone: 'Mars/Olympus', startsAt: 'soon', payload: { region: 'asia' } },
        { id: 'b', cron: '@daily', every: 0, payload: { region: 'eu' } },
        { id: 'c', cron: '@daily', every: '1h', startsAt: '2027-01-01', endsAt: '2026-01-01', payload: {} },
      ],
      retry: { atempts: 3, jitter: 2 },
      timeout: '1.5s',
      run: 42,
    });
    expect(problems.map(({ where }) => where).sort()).toEqual(
      [
        'name',
        'schedules[0].id',
        'schedules[0].cron',
        'schedules[0].timezone',
        'schedules[0].startsAt',
        'schedules[0].payload.region',
        'schedules[1].every',
        'schedules[2].every',
        'schedules[2].endsAt',
        'schedules[2].payload.region',
        'retry.atempts',
        'retry.jitter',
        'timeout',
        'run',
      ]
        .map((field) => `Report: ${field}`)
        .sort(),
    );
    for (const { expected, got } of problems) {
      expect(expected).not.toBe('');
      expect(got).not.toBe('');
    }
  });
});

describe("a schedule's payload", () => {
  const payload = z.object({ region: z.enum(['eu', 'us']) });
  const refusalsOfPayload = (schema: z.ZodType, given: object) =>
    refusals({ payload: schema, schedules: [{ ...asked, ...given }] });

  test('that its schema refuses is refused where it is declared', () => {
    expect(refusalsOfPayload(payload, { payload: { region: 'asia' } })).toEqual([
      { where: 'report: schedules[0].payload.region', expected: 'one of "eu", "us"', got: '"asia"' },
    ]);
  });

  test('that is missing is taken for {}, which the schema may refuse', () => {
    expect(refusalsOfPayload(payload, {})).toHaveLength(1);
    expect(refusalsOfPayload(payload.partial(), {})).toEqual([]);
  });

  test('that is null is not taken for {}', () => {
    expect(refusalsOfPayload(z.object({}), { payload: null })).toEqual([
      { where: 'report: schedules[0].payload', expected: 'an object', got: 'null' },
    ]);
    expect(refusalsOfPayload(z.null(), { payload: null })).toEqual([]);
  });

  test('is judged as the JSON that a run will get', () => {
    const [problem] = refusalsOfPayload(z.object({ since: z.date() }), { payload: { since: new Date(0) } });
    expect(problem).toEqual({
      where: 'report: schedules[0].payload.since',
      expected: 'a date',
      got: '"1970-01-01T00:00:00.000Z"',
    });
    expect(refusalsOfPayload(z.object({ since: z.coerce.date() }), { payload: { since: new Date(0) } })).toEqual([]);
  });

  test.each([
    ['a bigint', { payload: { n: 1n } }],
    ['a function', { payload: run }],
  ])('that holds %s, which JSON cannot, is refused', (_, given) => {
    expect(refusalsOfPayload(z.any(), given)).toEqual([
      { where: 'report: schedules[0].payload', expected: expect.stringContaining('JSON'), got: expect.any(String) },
    ]);
  });

  test('is refused where its schema would have to be awaited', () => {
    const slow = z.object({}).refine(async () => true);
    expect(refusalsOfPayload(slow, { payload: {} })).toEqual([
      { where: 'report: schedules[0].payload', expected: expect.stringContaining('synchronously'), got: '{}' },
    ]);
  });

  test('is refused where its schema throws', () => {
    const broken = z.object({}).transform(() => {
      throw new Error('no database');
    });
    expect(refusalsOfPayload(broken, { payload: {} })).toEqual([
      { where: 'report: schedules[0].payload', expected: expect.stringContaining('no database'), got: '{}' },
    ]);
  });
});
