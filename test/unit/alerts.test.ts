import { describe, expect, it } from 'vitest';
import type { TickEntry, TickOutcome } from '../../src/broker/tick-entry.js';
import { alertRulesOf, type JobAlertRules } from '../../src/jobs/alerts.js';
import { inMail, inSlack } from '../../src/jobs/catalog/alert-message.js';
import { defineJob, type JobOptions } from '../../src/jobs/define-job.js';
import { pingUrl, shownUrl } from '../../src/jobs/healthcheck.js';
import {
  type Ended,
  type History,
  historyOf,
  type JobFacts,
  type Reading,
  readingsOfJob,
  readingsOfSchedule,
  type ScheduleFacts,
  usualMsOf,
} from '../../src/producers/alert-rules.js';
import { type AlertState, decide } from '../../src/producers/alert-state.js';

const minute = 60_000;
const now = Date.UTC(2026, 10, 21, 7);
const ago = (minutes: number) => now - minutes * minute;

function rulesOf(alerts?: JobOptions<never, unknown>['alerts']): JobAlertRules {
  const job = defineJob({ name: 'report', ...(alerts !== undefined && { alerts }), run: () => null });
  expect(job.problems).toEqual([]);
  return job.alerts;
}

const ranSo = (ended: readonly Ended[]): History => ({ ...quiet, ended, usualMs: usualMsOf(ended) });
const quiet: History = { ended: [], missed: null, taken: null, usualMs: null };

function scheduleWith(facts: Partial<ScheduleFacts>): ScheduleFacts {
  const nothing = { history: quiet, active: [], waitingSince: null, lateAfter: null, broken: null };
  return { job: 'report', schedule: 'daily', rules: rulesOf(), ...nothing, ...facts };
}

function jobWith(facts: Partial<JobFacts>): JobFacts {
  return { job: 'report', rules: rulesOf(), history: quiet, active: [], oldest: null, noWorkerForMs: 0, ...facts };
}

/** What a rule says of a schedule or a job; undefined where it is off. */
function read(facts: ScheduleFacts | JobFacts, rule: Reading['rule']) {
  const readings = 'schedule' in facts ? readingsOfSchedule(facts, now) : readingsOfJob(facts, now);
  const found = readings.find((reading) => reading.rule === rule);
  return found && { on: found.on, mark: found.mark, text: found.text() };
}

function run(minutesAgo: number, failure: string | null, tookMs = 1_000): Ended {
  return { at: ago(minutesAgo), what: `run ${minutesAgo}`, failure, tookMs };
}

function tick(minutesAgo: number, outcome: TickOutcome, more: Partial<Extract<TickEntry, { run: string }>> = {}) {
  const time = ago(minutesAgo);
  return {
    time,
    due: time,
    claimed: time,
    started: time,
    finished: time + 1_000,
    outcome,
    run: 'r',
    attempts: 1,
    ...more,
  };
}

describe('the rules of an alert', () => {
  it('are on as documented, off with false, and a schedule has its own before its job’s', () => {
    expect(rulesOf()).toEqual({
      failed: true,
      failures: null,
      missed: true,
      slow: null,
      broken: true,
      cooldown: 30 * minute,
      queueAge: 15 * minute,
      noWorker: 2 * minute,
    });
    const off = rulesOf(false);
    expect(readingsOfJob(jobWith({ rules: off }), now)).toEqual([]);
    expect(readingsOfSchedule(scheduleWith({ rules: off }), now)).toEqual([]);
    const job = rulesOf({ failures: 3, slow: 2 });
    expect(alertRulesOf(job, { failures: null, cooldown: 5 })).toMatchObject({ failures: null, slow: 2, cooldown: 5 });
    expect(alertRulesOf(job, undefined)).toBe(job);
  });

  it('tell each wrong option by its name, with the one that was meant', () => {
    const alerts = { failures: 1, slow: 'x', colldown: '5m', queueAge: 0, noWorker: '1s' } as never;
    const schedules = [{ id: 'daily', cron: '@daily', alerts: { noWorker: '5m' } as never }];
    const { problems } = defineJob({ name: 'report', alerts, schedules, run: () => null });
    const expected = Object.fromEntries(problems.map((problem) => [problem.where, problem.expected]));
    expect(expected).toEqual({
      'report: schedules[0].alerts.noWorker': 'no such option',
      'report: alerts.failures': 'at least 2',
      'report: alerts.slow': 'how many times as long as usual, 1.1 to 1000, or false',
      'report: alerts.queueAge': expect.stringContaining('at least 1s'),
      'report: alerts.noWorker': expect.stringContaining('at least 10s'),
      'report: alerts.colldown': 'no such option (did you mean "cooldown"?)',
    });
  });
});

describe('what a rule finds', () => {
  it('is a run that has failed for good, until one succeeds', () => {
    const failing = read(jobWith({ history: { ...quiet, ended: [run(1, 'no disk'), run(2, null)] } }), 'failed');
    expect(failing).toEqual({ on: true, mark: ago(1), text: 'run 1 failed: no disk' });
    const over = read(jobWith({ history: { ...quiet, ended: [run(1, null), run(2, 'no disk')] } }), 'failed');
    expect(over).toEqual({ on: false, mark: ago(2), text: 'run 2 failed: no disk; run 1 succeeded' });
    expect(read(jobWith({}), 'failed')).toMatchObject({ on: false, mark: 0 });
  });

  it('is so many failures one after the other, and no fewer', () => {
    const rules = rulesOf({ failures: 3 });
    const ended = [run(1, 'a'), run(2, 'b'), run(3, null), run(4, 'c')];
    expect(read(jobWith({ rules, history: { ...quiet, ended } }), 'failures')?.on).toBe(false);
    const three = [run(0, 'x'), ...ended];
    expect(read(jobWith({ rules, history: { ...quiet, ended: three } }), 'failures')).toMatchObject({
      on: true,
      text: '3 in a row: run 0 failed: x',
    });
  });

  it('is a run that takes longer than usual, while it runs and when it has ended', () => {
    const rules = rulesOf({ slow: 3 });
    const usual = [1, 2, 3, 4, 5].map((minutes) => run(minutes, null, 10_000));
    const active = [{ what: 'run 9', since: now - 31_000 }];
    expect(read(jobWith({ rules, active, history: ranSo(usual) }), 'slow')).toMatchObject({
      on: true,
      text: 'run 9 runs for 31s, usual are 10s',
    });
    const tooFew = ranSo(usual.slice(1));
    expect(read(jobWith({ rules, active, history: tooFew }), 'slow')?.on).toBe(false);
    const over = ranSo([run(0, null, 31_000), ...usual]);
    expect(read(jobWith({ rules, history: over }), 'slow')).toEqual({
      on: false,
      mark: now,
      text: 'run 0 took 31s, usual are 10s',
    });
    const short = [1, 2, 3, 4, 5].map((minutes) => run(minutes, null, 10));
    const stillShort = ranSo([run(0, null, 4_000), ...short]);
    expect(read(jobWith({ rules, history: stillShort }), 'slow')).toMatchObject({ on: false, mark: 0 });
  });

  it('is a tick that waits for longer than its lateAfter, not one that has none', () => {
    const waiting = { waitingSince: ago(11), lateAfter: 10 * minute };
    expect(read(scheduleWith(waiting), 'missed')).toMatchObject({ on: true, text: expect.stringContaining('11m') });
    expect(read(scheduleWith({ ...waiting, waitingSince: ago(9) }), 'missed')?.on).toBe(false);
    expect(read(scheduleWith({ ...waiting, lateAfter: null }), 'missed')?.on).toBe(false);
  });

  it('is ticks that were missed, until a later one is taken', () => {
    const range = { time: ago(30), to: ago(10), count: 3, outcome: 'missed' as const, reason: 'late' };
    const missed = historyOf([tick(40, 'succeeded'), range], now, undefined);
    expect(read(scheduleWith({ history: missed }), 'missed')).toEqual({
      on: true,
      mark: ago(10),
      text: '3 ticks from 2026-11-21T06:30:00Z to 2026-11-21T06:50:00Z: missed (late)',
    });
    const over = historyOf([range, tick(5, 'running')], now, undefined);
    expect(read(scheduleWith({ history: over }), 'missed')?.on).toBe(false);
    const coalesced = historyOf([{ ...range, outcome: 'coalesced' }], now, undefined);
    expect(read(scheduleWith({ history: coalesced }), 'missed')).toMatchObject({ on: false, mark: 0 });
    const tooLate = historyOf([{ ...range, outcome: 'skipped', reason: 'too late' }], now, undefined);
    expect(read(scheduleWith({ history: tooLate }), 'missed')?.on).toBe(true);
  });

  it('is news where it was entered after the look before, however old the tick', () => {
    const range = { time: ago(90), to: ago(80), count: 3, outcome: 'missed' as const };
    const first = historyOf([range], now, null);
    expect(first.missed).toMatchObject({ tick: ago(80), noticed: now });
    expect(historyOf([range], now + minute, first.missed).missed).toMatchObject({ noticed: now });
  });

  it('is what ledger entries say of their runs: which failed, timed out, were cancelled', () => {
    const entries = [
      tick(4, 'failed', { reason: '503', attempts: 3 }),
      tick(3, 'timed-out'),
      tick(2, 'cancelled'),
      tick(1, 'running'),
    ];
    const { ended, taken } = historyOf(entries, now, undefined);
    expect(ended.map(({ failure }) => failure)).toEqual(['it took longer than its timeout', '503, after 3 attempts']);
    expect(taken).toBe(ago(1));
  });

  it('is a broken schedule that the producer has not mended, a queue that is too old, and no worker', () => {
    expect(read(scheduleWith({ broken: { why: 'gone', forMs: 29_999 } }), 'broken')?.on).toBe(false);
    expect(read(scheduleWith({ broken: { why: 'gone', forMs: 30_000 } }), 'broken')).toMatchObject({
      on: true,
      text: 'gone',
    });
    const oldest = { run: '7', since: ago(16) };
    expect(read(jobWith({ oldest }), 'queueAge')).toMatchObject({ on: true, text: 'run 7 waits for 16m' });
    expect(read(jobWith({ oldest: { run: '7', since: ago(14) } }), 'queueAge')?.on).toBe(false);
    expect(read(jobWith({ noWorkerForMs: 2 * minute }), 'noWorker')?.on).toBe(true);
    expect(read(jobWith({ noWorkerForMs: minute }), 'noWorker')?.on).toBe(false);
  });
});

/** Plays looks one after the other, as a producer would: what each tells, and what it leaves to be remembered. */
function play() {
  const states = new Map<string, AlertState>();
  let lookedAt: number | null = null;
  return {
    states,
    look(at: number, readings: readonly Partial<Reading>[], app = 'shop') {
      const given = readings.map((reading) => ({ ...calm, ...reading }));
      const changes = decide(states, given, { app, now: at, lookedAt, seen: new Map() });
      for (const { key, after } of changes) after ? states.set(key, after) : states.delete(key);
      lookedAt = at;
      return changes.flatMap(({ tell, text }) => (tell ? [`${tell}: ${text}`] : []));
    },
  };
}

const calm: Reading = {
  rule: 'failed',
  job: 'report',
  schedule: 'daily',
  on: false,
  mark: 0,
  cooldown: 10 * minute,
  text: () => 'as said',
};

describe('an alert', () => {
  it('is told once when it starts and once when it ends', () => {
    const { look } = play();
    expect(look(now, [{ on: true, mark: now }])).toEqual(['started: as said']);
    expect(look(now + minute, [{ on: true, mark: now }])).toEqual([]);
    expect(look(now + 2 * minute, [{ on: true, mark: now + 2 * minute }])).toEqual([]);
    expect(look(now + 3 * minute, [{ mark: now + 2 * minute }])).toEqual(['ended: as said']);
    expect(look(now + 4 * minute, [{ mark: now + 2 * minute }])).toEqual([]);
  });

  it('does not start again before its cool-down is over, and tells then what was wrong meanwhile', () => {
    const { look } = play();
    look(now, [{ on: true, mark: now }]);
    look(now + minute, [{ mark: now }]);
    expect(look(now + 2 * minute, [{ on: true, mark: now + 2 * minute }])).toEqual([]);
    expect(look(now + 3 * minute, [{ mark: now + 2 * minute }])).toEqual([]);
    expect(look(now + 10 * minute, [{ mark: now + 2 * minute }])).toEqual(['started: as said']);
    expect(look(now + 11 * minute, [{ mark: now + 2 * minute }])).toEqual(['ended: as said']);
    expect(look(now + 60 * minute, [{ mark: now + 2 * minute }])).toEqual([]);
  });

  it('is of what was wrong between two looks, though it is over; not of what was over before the first', () => {
    const { look } = play();
    expect(look(now, [{ mark: now - 1 }])).toEqual([]);
    expect(look(now + minute, [{ mark: now + 1_000 }])).toEqual(['started: as said']);
    expect(look(now + 2 * minute, [{ mark: now + 1_000 }])).toEqual(['ended: as said']);
  });

  it('is forgotten when it is long over, and not told anew for that', () => {
    const { look, states } = play();
    look(now, [{ on: true, mark: now, cooldown: 0 }]);
    look(now + 10 * minute, [{ mark: now + 10 * minute, cooldown: 0 }]);
    expect(look(now + 11 * minute, [{ mark: now + 10 * minute, cooldown: 0 }])).toEqual([]);
    expect(states.size).toBe(1);
    expect(look(now + 13 * minute, [{ mark: now + 10 * minute, cooldown: 0 }])).toEqual([]);
    expect(states.size).toBe(0);
    expect(look(now + 14 * minute, [{ mark: now + 10 * minute, cooldown: 0 }])).toEqual([]);
  });

  it('ends where its schedule is gone or its rule is off, and stays where it is another app’s', () => {
    const { look } = play();
    look(now, [{ on: true }]);
    expect(look(now + minute, [], 'other')).toEqual([]);
    expect(look(now + minute, [])).toEqual([expect.stringMatching(/^ended: nobody looks after it/)]);
  });

  it('is one of each rule and subject', () => {
    const { look } = play();
    const on = { on: true };
    expect(
      look(now, [on, { ...on, rule: 'missed' }, { ...on, schedule: null }, { ...on, schedule: 'b' }]),
    ).toHaveLength(4);
    expect(look(now + minute, [on, { ...on, rule: 'missed' }, { ...on, schedule: null }])).toHaveLength(1);
  });
});

describe('an alert of a job whose successes are out of sight before its failures', () => {
  const rules = rulesOf({ failures: 2, cooldown: 0 });
  const failed = [run(-1, 'b'), run(0, 'a')];
  const readingsOf = (ended: readonly Ended[], at: number) =>
    readingsOfJob(jobWith({ rules, history: ranSo(ended) }), at).filter(({ rule }) => rule.startsWith('fail'));

  it('does not start again for a failure that was told, and starts for the next', () => {
    const { look, states } = play();
    const lookAfter = (minutes: number, ended: readonly Ended[]) => {
      const at = now + minutes * minute;
      return look(at, readingsOf(ended, at));
    };
    lookAfter(0, []);
    expect(lookAfter(1, failed)).toEqual(['started: run -1 failed: b', 'started: 2 in a row: run -1 failed: b']);
    expect(lookAfter(2, [run(-2, null), ...failed])).toHaveLength(2);
    expect(lookAfter(3, failed)).toEqual([]);
    expect(lookAfter(30, failed)).toEqual([]);
    expect(states.size).toBe(0);
    expect(lookAfter(31, failed)).toEqual([]);
    expect(lookAfter(32, [run(-32, 'c'), ...failed])).toHaveLength(2);
  });

  it('starts for the next where the clocks of its workers are far behind', () => {
    const at = now + 60 * minute;
    const decideOn = (ended: readonly Ended[]) => {
      const seen = new Map([['failed job:report', ago(0)]]);
      const changes = decide(new Map(), readingsOf(ended, at), { app: 'shop', now: at, lookedAt: at - minute, seen });
      return changes.map(({ after, tell }) => `${tell} ${after?.rule}`);
    };
    expect(decideOn([run(0, 'a')])).toEqual([]);
    expect(decideOn(failed)).toEqual(['started failed']);
  });

  it('starts at the first look of all, however old the failure', () => {
    expect(play().look(now + 60 * minute, readingsOf(failed, now + 60 * minute))).toHaveLength(2);
  });

  it('starts for what has no time of its own, whatever was wrong before', () => {
    const slow = rulesOf({ slow: 3 });
    const usual = [1, 2, 3, 4, 5].map((minutes) => run(minutes, null, 10_000));
    const history = ranSo([...usual, run(90, null, 60_000)]);
    const active = [{ what: 'run 9', since: now - 31_000 }];
    const { look } = play();
    look(now - minute, []);
    expect(look(now, readingsOfJob(jobWith({ rules: slow, history, active }), now))).toHaveLength(1);
    const missed = { tick: ago(90), noticed: ago(90), text: 'missed' };
    const late = { history: { ...quiet, missed, taken: ago(80) }, waitingSince: ago(11), lateAfter: 10 * minute };
    expect(look(now, readingsOfSchedule(scheduleWith(late), now))).toEqual([
      expect.stringMatching(/^started: its tick waits/),
      expect.stringMatching(/^ended: nobody/),
    ]);
  });
});

describe('a message', () => {
  const alert = {
    rule: 'failed',
    job: 'report',
    schedule: 'daily',
    since: '2026-11-21T07:00:00Z',
    text: '<x> & y',
  } as const;
  const head = { id: '1', channel: 'webhook', event: 'alert.started', app: 'shop', at: alert.since, more: 0 } as const;

  it('is markup of Slack’s without what its text might do there', () => {
    expect(inSlack({ ...head, alerts: [alert], more: 2 })).toEqual({
      text: ':red_circle: *daily (report) failed*: &lt;x&gt; &amp; y\nand 2 more: rondo schedules list tells all',
    });
    const event = 'alert.ended' as const;
    expect(inSlack({ ...head, event, alerts: [{ ...alert, schedule: null }] })).toEqual({
      text: ':large_green_circle: *over: report failed*: &lt;x&gt; &amp; y',
    });
  });

  it('has a subject of one line that says what it is about, or how many there are', () => {
    expect(inMail({ ...head, alerts: [alert] })).toEqual({
      subject: '[shop] daily (report) failed',
      text: 'daily (report) failed\n  <x> & y\n  since 2026-11-21T07:00:00Z\n',
    });
    expect(inMail({ ...head, alerts: [alert], more: 9 }).subject).toBe('[shop] 10 alerts');
  });
});

describe('the address of a dead man’s switch', () => {
  it('is called as healthchecks.io has it, with one id for all pings of a run', () => {
    const base = 'https://hc-ping.com/0000/nightly/';
    expect(pingUrl(base, 'success').href).toBe(base);
    const start = pingUrl(base, 'start', 'repeat:daily:1');
    expect(start.pathname).toBe('/0000/nightly/start');
    const rid = start.searchParams.get('rid');
    expect(rid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(pingUrl(base, 'fail', 'repeat:daily:1').search).toBe(`?rid=${rid}`);
    expect(pingUrl(base, 'fail', 'repeat:daily:2').search).not.toBe(`?rid=${rid}`);
  });

  it('is shown without what makes it a secret, and that is not taken for one', () => {
    expect(shownUrl('https://hc-ping.com/0000')).toBe('https://hc-ping.com/…');
    const schedules = [{ id: 'daily', cron: '@daily', healthcheck: 'https://hc-ping.com/…' }];
    const { problems } = defineJob({ name: 'report', schedules, run: () => null });
    expect(problems).toMatchObject([{ where: 'report: schedules[0].healthcheck', got: '(not shown)' }]);
  });
});
