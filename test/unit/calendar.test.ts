import { describe, expect, it } from 'vitest';
import { type Calendar, defineCalendar, lookAt } from '../../src/jobs/calendar.js';
import { defineJob, type JobDefinition } from '../../src/jobs/define-job.js';
import { withCalendars } from '../../src/jobs/exclusion-options.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { nextTick, type Timing, ticksAfter } from '../../src/jobs/schedule.js';
import { inWords } from '../../src/jobs/words.js';
import { prompt } from '../support/prompt.js';

const run = () => null;
const job = (schedule: object, name = 'report'): JobDefinition =>
  defineJob({ name, schedules: [{ id: `${name}-1`, ...schedule } as never], run });
const holidays = defineCalendar({ name: 'holidays', timezone: 'Europe/Paris', yearly: ['12-25', '01-01'] });

/** Field, expectation and value of each problem. */
function problemsOf(schedule: object): string[] {
  return job(schedule).problems.map(
    ({ where, expected, got }) => `${where.replace('report: schedules[0].', '')}: ${expected}; ${got}`,
  );
}

function ticks(timing: Timing, after: string, count: number): string[] {
  const found: string[] = [];
  for (const time of ticksAfter(timing, Date.parse(after)))
    if (found.push(new Date(time).toISOString()) === count) break;
  return found;
}

describe('a schedule that excludes calendars', () => {
  it('carries them whole in its timing, as plain JSON', () => {
    const { schedules, problems } = job({
      cron: '0 9 * * *',
      timezone: 'America/New_York',
      dst: 'skip',
      exclude: [holidays, { dates: ['2026-11-21'] }],
      except: ['2026-12-25'],
      onExcluded: 'next-working-day',
    });
    expect(problems).toEqual([]);
    const timing = {
      kind: 'cron',
      cron: '0 9 * * *',
      timezone: 'America/New_York',
      dst: 'skip',
      exclude: {
        timezone: 'America/New_York',
        calendars: [
          { name: 'holidays', timezone: 'Europe/Paris', yearly: ['12-25', '01-01'] },
          { dates: ['2026-11-21'] },
        ],
        except: ['2026-12-25'],
        onExcluded: 'next-working-day',
      },
    };
    expect(JSON.parse(JSON.stringify(schedules[0]?.timing))).toEqual(timing);
    expect(inWords(timing as Timing)).toBe(
      'At 09:00 (America/New_York), except holidays and its own calendar: then on the next working day',
    );
  });

  it('follows its zone where it is no cron', () => {
    const exclude = [{ weekly: [{ days: ['sun'], from: '22:00', to: '06:00' }] }];
    const [schedule] = job({ every: '6h', timezone: 'Asia/Tokyo', exclude }).schedules;
    expect(ticks(schedule?.timing as Timing, '2026-11-22T06:00:00Z', 3)).toEqual([
      '2026-11-22T12:00:00.000Z',
      '2026-11-23T00:00:00.000Z', // 18:00Z is 03:00 of Monday in Tokyo
      '2026-11-23T06:00:00.000Z',
    ]);
  });

  it('runs once where two of its ticks move to one time, and not after its end', () => {
    const timing: Timing = {
      kind: 'cron',
      cron: '0 9 * * *',
      timezone: 'UTC',
      endsAt: Date.parse('2026-11-28T12:00:00Z'),
      exclude: { timezone: 'UTC', calendars: [{ weekly: [{ days: ['sat', 'sun'] }] }], onExcluded: 'next-working-day' },
    };
    expect(ticks(timing, '2026-11-20T08:00:00Z', 3)).toEqual([
      '2026-11-20T09:00:00.000Z',
      '2026-11-23T09:00:00.000Z',
      '2026-11-24T09:00:00.000Z',
    ]);
    expect(nextTick(timing, Date.parse('2026-11-27T09:00:00Z'))).toBeNull();
  });

  it('moves its only time to the next working day', () => {
    const exclude = { timezone: 'UTC', calendars: [{ dates: ['2026-12-24', '2026-12-25'] }] };
    const timing = { kind: 'at', at: Date.parse('2026-12-24T09:00:00Z'), exclude } as const;
    expect(nextTick(timing, 0)).toBeNull();
    const moving = { ...timing, exclude: { ...exclude, onExcluded: 'next-working-day' as const } };
    const moved = Date.parse('2026-12-26T09:00:00Z');
    expect([nextTick(moving, 0), nextTick(moving, moved - 1), nextTick(moving, moved)]).toEqual([moved, moved, null]);
  });

  it('finds its next tick behind years of exclusion, and ends where ten years have none', prompt, () => {
    const dates = Array.from({ length: 3_000 }, (_, day) =>
      new Date(Date.UTC(2027, 0, 1 + day)).toISOString().slice(0, 10),
    );
    const timing: Timing = {
      kind: 'every',
      every: 1_000,
      exclude: { timezone: 'Europe/Paris', calendars: [{ dates }] },
    };
    const end = Date.UTC(2027, 0, 1 + 3_000) - 3_600_000; // midnight in Paris, in March of 2035
    const startedAt = performance.now();
    expect(nextTick(timing, Date.UTC(2027, 5))).toBe(end);
    const never = {
      timezone: 'UTC',
      calendars: [{ weekly: [{ days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] }] }],
    } as const;
    expect(nextTick({ kind: 'every', every: 1_000, exclude: never }, 0)).toBeNull();
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });
});

describe('a calendar', () => {
  it('has windows that end the next day, and days that run all the same', () => {
    const nights = {
      weekly: [
        { days: ['fri'], from: '22:00', to: '06:00' },
        { days: ['wed'], to: '01:30' },
      ],
    } as const;
    const by = (time: string, except: string[] = []) =>
      lookAt({ timezone: 'UTC', calendars: [nights], except }, Date.parse(`2026-11-${time}:00Z`)).by;
    expect([by('20T21:59'), by('20T22:00'), by('21T05:59'), by('21T06:00')]).toEqual([
      null,
      'its own calendar',
      'its own calendar',
      null,
    ]);
    expect([by('18T01:29'), by('18T01:30')]).toEqual(['its own calendar', null]);
    expect([by('20T23:00', ['2026-11-20']), by('21T05:00', ['2026-11-20'])]).toEqual([null, 'its own calendar']);
  });
});

describe('what is wrong with calendars', () => {
  it('is told all at once, by field', () => {
    const exclude = [
      {
        name: 'Company Holidays',
        timezone: 'Europe/Pari',
        dates: ['2026-02-30', '24.12.2026'],
        yearly: ['13-01', '02-29'],
        weekly: [
          { days: [] },
          { days: ['saturday'] },
          { days: ['mon'], from: '09:00', to: '09:00' },
          { days: ['mon'], from: '25:00' },
        ],
      },
      { dates: [], yearly: ['2-3'] },
      {},
      { weekly: [{ day: ['mon'] }], date: ['2026-01-01'] },
      'holidays',
    ];
    expect(
      problemsOf({ cron: '0 9 * * *', exclude, except: ['2027-02-29'], onExcluded: 'move', dst: 'never' }),
    ).toEqual([
      'dst: one of "run-after", "skip"; "never"',
      'exclude[0].name: a name of 1 to 64 small letters, digits and hyphens, not beginning with a hyphen; "Company Holidays"',
      'exclude[0].timezone: an IANA time zone such as "Europe/Paris"; "Europe/Pari"',
      'exclude[0].dates[0]: a date of the calendar such as "2026-12-24"; "2026-02-30"',
      'exclude[0].dates[1]: a date of the calendar such as "2026-12-24"; "24.12.2026"',
      'exclude[0].yearly[0]: a day of the year such as "12-25", month first; "13-01"',
      'exclude[0].weekly[0].days: at least one; []',
      'exclude[0].weekly[1].days[0]: one of "mon", "tue", "wed", "thu", "fri", "sat", "sun"; "saturday"',
      'exclude[0].weekly[2].to: another time than from; a whole day has neither; "09:00"',
      'exclude[0].weekly[3].from: a time of day such as "22:00"; "25:00"',
      'exclude[1].dates: at least one; []',
      'exclude[1].yearly[0]: a day of the year such as "12-25", month first; "2-3"',
      'exclude[2].dates: at least one of dates, yearly, weekly; nothing',
      'exclude[3].weekly[0].days: an array; nothing',
      'exclude[3].weekly[0].day: no such option (did you mean "days"?); ["mon"]',
      'exclude[3].date: no such option (did you mean "dates"?); ["2026-01-01"]',
      'exclude[4]: a calendar made with defineCalendar, or one in place such as { dates: ["2026-12-24"] }; "holidays"',
      'except[0]: a date of the calendar such as "2026-12-24"; "2027-02-29"',
      'onExcluded: one of "drop", "next-working-day"; "move"',
    ]);
  });

  it.each([
    [{ cron: '0 9 * * sat' }, 'exclude: calendars that leave the schedule a tick within ten years'],
    [{ at: '2026-11-21T09:00:00Z' }, 'exclude: calendars that leave the schedule a tick within ten years'],
    [
      { every: '1h', startsAt: '2026-11-21T00:00:00Z', endsAt: '2026-11-22T12:00:00Z' },
      'exclude: calendars that leave the schedule a tick within ten years',
    ],
    [
      { cron: '*/5 9 * * *', onExcluded: 'next-working-day' },
      'onExcluded: "drop": only a cron of fixed times of day, or at, has ticks that can move',
    ],
    [
      { cron: '0-59 0-59 9 * * *', onExcluded: 'next-working-day' },
      'onExcluded: "drop" for more than 1440 times a day',
    ],
    [{ every: '1h', dst: 'skip' }, 'dst: nothing: only cron schedules follow the clock'],
  ])('is said of the schedule as a whole: %j', (schedule, problem) => {
    const [found, ...others] = problemsOf({ ...schedule, exclude: [{ weekly: [{ days: ['sat', 'sun'] }] }] });
    expect(others).toEqual([]);
    expect(found).toMatch(problem);
  });

  it('is that there is nothing to except from, or to move', () => {
    expect(problemsOf({ cron: '0 9 * * *', except: ['2026-12-24'] })).toEqual([
      'except: nothing, since the schedule excludes nothing; ["2026-12-24"]',
    ]);
    expect(problemsOf({ cron: '0 9 * * *', onExcluded: 'drop' })).toEqual([
      'onExcluded: nothing, since the schedule excludes nothing; "drop"',
    ]);
    expect(problemsOf({ every: '1h', timezone: 'Europe/Paris' })).toHaveLength(1);
  });
});

describe('the registry', () => {
  it('knows calendars by name: those that schedules use, and those declared beside the jobs', () => {
    const more = { name: 'inventory', dates: ['2027-01-02'] };
    const uses = { cron: '0 9 * * *', exclude: [holidays] };
    const registry = createRegistry([job(uses), job(uses, 'digest')], [more, { ...holidays }]);
    expect([...registry.calendars]).toEqual([
      ['inventory', more],
      ['holidays', holidays],
    ]);
  });

  it('refuses two calendars of one name', () => {
    const another = { ...holidays, yearly: ['12-25'] };
    const jobs = [
      job({ cron: '0 9 * * *', exclude: [holidays] }),
      job({ cron: '0 9 * * *', exclude: [another] }, 'digest'),
    ];
    expect(() => createRegistry(jobs)).toThrow(
      'digest-1: exclude: expected a name of its own for each calendar; got "holidays" again, with other times',
    );
    expect(() => createRegistry(jobs.slice(0, 1), [another])).toThrow('"holidays" again');
  });

  it('refuses calendars that make no sense beside the jobs', () => {
    const attempt = (calendars: unknown) => () => createRegistry([], calendars);
    expect(attempt([{ dates: ['2026-02-30'] }])).toThrow(
      /calendars\[0\]\.name: expected .*\n.*calendars\[0\]\.dates\[0\]: expected a date/,
    );
    expect(attempt({ holidays })).toThrow('calendars: expected an array');
    expect(attempt([{ name: 'none' }])).toThrow('calendars[0].dates: expected at least one of dates, yearly, weekly');
  });
});

describe('a schedule in JSON', () => {
  const known = new Map<string, Calendar>([['holidays', holidays]]);

  it('names calendars that code knows', () => {
    const own = { dates: ['2026-11-21'] };
    const found = withCalendars({ cron: '0 9 * * *', exclude: ['holidays', own] }, known);
    expect(found).toEqual({ schedule: { cron: '0 9 * * *', exclude: [holidays, own] }, problems: [] });
    expect(withCalendars({ cron: '0 9 * * *' }, known)).toEqual({ schedule: { cron: '0 9 * * *' }, problems: [] });
    expect(withCalendars(7, known)).toEqual({ schedule: 7, problems: [] });
  });

  it('is told the nearest name where it names another', () => {
    const { problems, schedule } = withCalendars({ exclude: ['hollidays'] }, known, 'body.');
    const expected = 'the name of a calendar: did you mean "holidays"?';
    expect(problems).toEqual([{ where: 'body.exclude[0]', expected, got: '"hollidays"' }]);
    expect(problemsOf({ cron: '0 9 * * *', ...(schedule as object) })).toEqual([]);
    expect(withCalendars({ exclude: ['x'] }, new Map()).problems).toMatchObject([
      { expected: 'a calendar in place: the jobs declare none' },
    ]);
  });
});
