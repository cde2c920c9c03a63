import { describe, expect, it } from 'vitest';
import type { RondoEvent, RunFacts } from '../../src/jobs/events.js';
import { createDigest, createDurations, type Summary } from '../../src/observability/digest.js';
import { createLogger, logEvents } from '../../src/observability/logger.js';

const facts = (job: string): RunFacts => ({ job, run: '1', attempt: 1, maxAttempts: 3 });
const succeeded = (job: string, durationMs: number): RondoEvent => ({
  type: 'run.succeeded',
  durationMs,
  ...facts(job),
});
const skipped = (job: string): RondoEvent => ({ type: 'run.skipped', reason: 'overlap', ...facts(job) });
const failed = (job: string): RondoEvent => ({
  ...{ type: 'run.failed', durationMs: 4, code: null, reason: 'no', error: new Error('no'), retryInMs: null },
  ...facts(job),
});
const answered = (status: number): RondoEvent => ({
  ...{ type: 'http.answered', method: 'GET', path: '/v1/jobs', status, durationMs: 7, key: null },
});

/** A clock that the test sets. */
function clock() {
  let nowMs = 0;
  let waiting: { at: number; then: () => void }[] = [];
  return {
    after: (ms: number, then: () => void) => void waiting.push({ at: nowMs + ms, then }),
    pass(ms: number): void {
      const end = nowMs + ms;
      for (;;) {
        const [next] = waiting.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
        if (!next) break;
        waiting = waiting.filter((it) => it !== next);
        nowMs = next.at;
        next.then();
      }
      nowMs = end;
    },
    isIdle: () => waiting.length === 0,
  };
}

function digest() {
  const time = clock();
  const told: Summary[] = [];
  const { tells } = createDigest(time.after, (summary) => told.push(summary));
  const lines = (events: readonly RondoEvent[]) => events.filter(tells).length;
  return { time, told, lines };
}

const many = <Value>(count: number, make: (index: number) => Value) =>
  Array.from({ length: count }, (_, at) => make(at));

describe('what goes well', () => {
  it('is told one by one up to a hundred a second, and sums nothing up then', () => {
    const { time, told, lines } = digest();
    for (let second = 0; second < 10; second++) {
      expect(lines(many(100, () => succeeded('mail', 1)))).toBe(100);
      time.pass(1_000);
    }
    expect(told).toEqual([]);
  });

  it('is summed up beyond that: each job that had more, with how many there were and how long they took', () => {
    const { time, told, lines } = digest();
    expect(lines([succeeded('quiet', 1)])).toBe(1);
    let shown = 1;
    for (let second = 0; second < 5; second++) {
      shown += lines([
        ...many(1_000, (at) => succeeded('mail', at < 900 ? 3 : 20)),
        ...many(10, () => skipped('mail')),
      ]);
      time.pass(1_000);
    }

    expect(shown).toBe(500);
    const [summary, ...more] = told;
    expect(more).toEqual([]);
    expect(summary).toEqual({
      ...{ type: 'runs.summary', job: 'mail', succeeded: 5_000, skipped: 50, untold: 5_050 - 499 },
      ...{ p50Ms: 3, p95Ms: 20, withinMs: 5_000 },
    });
  });

  it('begins anew after each five seconds, and asks for no time while nothing happens', () => {
    const { time, told, lines } = digest();
    lines(many(150, () => succeeded('mail', 1)));
    time.pass(5_000);
    expect(told).toMatchObject([{ succeeded: 150, untold: 50 }]);
    expect(time.isIdle()).toBe(true);

    time.pass(60_000);
    lines(many(101, () => succeeded('mail', 1)));
    time.pass(4_999);
    expect(told).toHaveLength(1);
    time.pass(1);
    expect(told[1]).toMatchObject({ succeeded: 101, untold: 1 });
  });

  it('counts requests apart from runs, and those that were refused not at all', () => {
    const { time, told, lines } = digest();
    expect(lines(many(100, () => succeeded('mail', 1)))).toBe(100);
    expect(lines(many(300, (at) => answered(at < 200 ? 202 : 422)))).toBe(200);
    time.pass(5_000);
    expect(told).toEqual([{ type: 'http.summary', answered: 200, untold: 100, p50Ms: 7, p95Ms: 7, withinMs: 5_000 }]);
  });
});

describe('the log', () => {
  function logged(level: string) {
    const time = clock();
    const lines: Record<string, unknown>[] = [];
    const write = (line: string) => void lines.push(JSON.parse(line));
    return { time, lines, log: logEvents(createLogger(level, { write }), time.after) };
  }

  it('at info has every failure and few lines of a thousand runs a second', () => {
    const { time, lines, log } = logged('info');
    for (let second = 0; second < 5; second++) {
      for (let run = 0; run < 1_000; run++) log(run % 100 === 0 ? failed('mail') : succeeded('mail', 2));
      time.pass(1_000);
    }
    const count = (event: string) => lines.filter((line) => line.event === event).length;
    expect(count('run.failed')).toBe(50);
    expect(count('run.succeeded')).toBe(500);
    expect(lines.at(-1)).toMatchObject({
      ...{ event: 'runs.summary', level: 30, job: 'mail', succeeded: 4_950, skipped: 0, p95Ms: 2 },
      msg: 'mail: 4950 runs succeeded within 5 s (half of them in 2 ms, 95 % in 2 ms)',
    });
  });

  it('at debug has them all, those beyond a hundred at that level', () => {
    const { lines, log } = logged('debug');
    for (let run = 0; run < 150; run++) log(succeeded('mail', 2));
    expect(lines.map(({ level }) => level)).toEqual([...many(100, () => 30), ...many(50, () => 20)]);
  });

  it('tells how late a tick began', () => {
    const { lines, log } = logged('info');
    const tick = { schedule: 'mail', tick: Date.UTC(2026, 10, 21, 7) };
    log({ ...succeeded('mail', 40), ...tick, latenessMs: 999 } as RondoEvent);
    log({ ...succeeded('mail', 40), ...tick, latenessMs: 90_000 } as RondoEvent);
    expect(lines).toMatchObject([
      { latenessMs: 999, msg: 'mail tick 2026-11-21T07:00:00Z succeeded in 40 ms' },
      { latenessMs: 90_000, msg: 'mail tick 2026-11-21T07:00:00Z succeeded in 40 ms, begun 1m 30s late' },
    ]);
  });
});

describe('durations', () => {
  it('are right to a twentieth, from a millisecond to a day', () => {
    for (const share of [0.5, 0.95, 1]) {
      const found = createDurations();
      const values = many(10_000, (at) => Math.round(Math.exp((at / 10_000) * Math.log(86_400_000))));
      for (const value of values) found.add(value);
      const exact = values[Math.ceil(share * values.length) - 1] ?? 0;
      const quantile = found.quantile(share) ?? 0;
      expect(Math.abs(quantile - exact) / exact).toBeLessThan(0.05);
    }
  });

  it('of nothing are none', () => {
    expect(createDurations().quantile(0.5)).toBeNull();
  });
});
