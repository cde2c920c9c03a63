import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { splitAt } from '../../src/broker/backfill-claim.js';
import { packEntry, type TickEntry, type TickRange, unpackEntry } from '../../src/broker/tick-entry.js';
import { type Timing, ticksAfter } from '../../src/jobs/schedule.js';
import { type BackfillPlanInput, planBackfill } from '../../src/producers/backfill-plan.js';

const minute = 60_000;
const begin = Date.UTC(2026, 2, 28, 22);
const timings: Timing[] = [
  { kind: 'every', every: minute },
  { kind: 'every', every: minute, spread: 30_000, offset: 17_000 },
  // Clocks change in this night.
  { kind: 'cron', cron: '*/7 * * * *', timezone: 'Europe/Paris' },
];
const timing = fc.constantFrom(...timings);

describe('an entry that covers a tick of a backfill', () => {
  it('is split so that each other tick is covered once, and counted', async () => {
    const input = fc.record({
      timing,
      from: fc.nat(200),
      count: fc.integer({ min: 1, max: 120 }),
      at: fc.nat(119),
    });
    await fc.assert(
      fc.asyncProperty(input, async ({ timing, from, count, at }) => {
        const ticks = ticksOf(timing, from + count).slice(from);
        const tick = ticks[at % count] as number;
        const range = rangeOver(ticks);
        const split = await splitAt('s', packEntry('s', range), tick, timing, undefined);
        expect(split?.replaced).toBe(packEntry('s', range));
        const covered = split?.pieces.flatMap((piece) => {
          const within = ticks.filter((time) => time >= piece.time && time <= piece.to);
          expect(piece).toMatchObject({ count: within.length, time: within[0], to: within.at(-1) });
          expect(piece).toMatchObject({ outcome: 'missed', reason: 'misfire' });
          return within;
        });
        expect(covered).toEqual(ticks.filter((time) => time !== tick));
      }),
    );
  });

  it('stays as it is where it ends before the tick', async () => {
    const ticks = ticksOf(timings[0] as Timing, 10);
    const packed = packEntry('s', rangeOver(ticks.slice(0, 4)));
    const split = await splitAt('s', packed, ticks[7] as number, timings[0] as Timing, undefined);
    expect(split).toEqual({ replaced: '', pieces: [] });
  });

  it.each([
    ['succeeded', 'repeat:s:1', null],
    ['running', 'repeat:s:1', null],
    ['cancelled', 'repeat:s:1', null],
    ['paused', 'repeat:s:1', []],
    ['skipped', 'repeat:s:1', []],
    ['skipped', 'tick:s:1', null],
  ] as const)('gives way or not, where it is a run that is %s, as %s', async (outcome, run, pieces) => {
    const packed = packEntry('s', { ...{ time: begin, due: begin, claimed: begin, attempts: 1 }, outcome, run });
    const split = await splitAt('s', packed, begin, timings[0] as Timing, undefined);
    expect(split?.pieces ?? null).toEqual(pieces);
  });
});

describe('the plan of a backfill', () => {
  it('runs each tick of the range that has no run, and says of each other why not', async () => {
    const input = fc.record({
      timing,
      onlyMissed: fc.boolean(),
      knownFrom: fc.nat(60),
      liveFrom: fc.nat(140),
      // What the ledger says of each tick, and which of them another backfill has.
      words: fc.array(fc.constantFrom('ran', 'missed', 'paused run', 'not due'), { minLength: 140, maxLength: 140 }),
      others: fc.array(fc.boolean(), { minLength: 140, maxLength: 140 }),
      from: fc.nat(60),
      length: fc.integer({ min: 0, max: 80 }),
    });
    await fc.assert(
      fc.asyncProperty(input, async ({ timing, onlyMissed, knownFrom, liveFrom, words, others, from, length }) => {
        const ticks = ticksOf(timing, 141);
        const at = (index: number) => ticks[index] as number;
        const range = ticks.slice(from, from + length + 1);
        const plan = await planBackfill({
          ...{ schedule: 's', timing, rule: undefined, onlyMissed },
          ...{ from: at(from) - 3, to: at(from + length) + 3 },
          ...{ knownFrom: at(knownFrom), liveFrom: at(liveFrom) },
          entries: entriesOf(ticks, words, knownFrom),
          taken: others.flatMap((other, index) => (other ? [[at(index), at(index)] as const] : [])),
        });
        const expectedOf = createModel({ words, others, onlyMissed, knownFrom, liveFrom });
        const judged = range.map((_, offset) => expectedOf(from + offset));
        const expected = range.filter((_, index) => judged[index] === 'runs');
        const run = plan.spans.flatMap(([first, last]) => ticks.filter((time) => time >= first && time <= last));
        expect(run).toEqual(expected);
        expect(plan).toMatchObject({
          count: expected.length,
          first: expected[0] ?? null,
          last: expected.at(-1) ?? null,
        });
        for (const [reason, count] of Object.entries(plan.leftOut)) {
          expect([reason, judged.filter((it) => it === reason).length]).toEqual([reason, count]);
        }
      }),
    );
  });

  it('leaves a range alone that other times of the schedule have written', async () => {
    const ticks = ticksOf({ kind: 'every', every: minute }, 60);
    const plan = await planBackfill({ ...usual(ticks), timing: { kind: 'every', every: 2 * minute } });
    expect(plan).toMatchObject({ count: 0, leftOut: { otherTimes: 30 } });
  });

  it('gives up at a million ticks', async () => {
    const ticks = ticksOf({ kind: 'every', every: minute }, 10);
    const plan = await planBackfill({ ...usual(ticks), timing: { kind: 'every', every: 1 }, from: begin - 86_400_000 });
    expect(plan).toMatchObject({ tooMany: true, count: 0 });
  });
});

/** What becomes of a tick by the words of the specification, one after the other. */
function createModel(input: {
  words: readonly string[];
  others: readonly boolean[];
  onlyMissed: boolean;
  knownFrom: number;
  liveFrom: number;
}) {
  const rules: [(index: number) => boolean, string][] = [
    [(index) => index >= input.liveFrom, 'live'],
    [(index) => input.others[index] === true, 'inAnother'],
    [(index) => index < input.knownFrom, input.onlyMissed ? 'beforeKnown' : 'runs'],
    [(index) => input.words[index] === 'ran', 'ran'],
    [(index) => input.words[index] === 'not due', input.onlyMissed ? 'notDue' : 'runs'],
  ];
  return (index: number) => rules.find(([applies]) => applies(index))?.[1] ?? 'runs';
}

function usual(ticks: readonly number[]): BackfillPlanInput {
  const [from, to] = [ticks[0] as number, ticks.at(-1) as number];
  return {
    ...{ schedule: 's', timing: { kind: 'every', every: minute }, rule: undefined, onlyMissed: true },
    ...{ from, to, liveFrom: to + 1, knownFrom: from, entries: [rangeOver(ticks)], taken: [] },
  };
}

function ticksOf(timing: Timing, count: number): number[] {
  const ticks: number[] = [];
  for (const tick of ticksAfter(timing, begin)) if (ticks.push(tick) >= count) break;
  return ticks;
}

function rangeOver(ticks: readonly number[]): TickRange {
  const [time, to] = [ticks[0] as number, ticks.at(-1) as number];
  return { time, to, count: ticks.length, outcome: 'missed', reason: 'misfire' };
}

/** A ledger with these words, as it is read back: what was missed together is one range. */
function entriesOf(ticks: readonly number[], words: readonly string[], knownFrom: number): TickEntry[] {
  const entries: TickEntry[] = [];
  let missed: number[] = [];
  const close = () => {
    if (missed.length > 0) entries.push(rangeOver(missed));
    missed = [];
  };
  words.forEach((word, index) => {
    const time = ticks[index] as number;
    if (index < knownFrom) return;
    if (word === 'missed') {
      missed.push(time);
      return;
    }
    close();
    const outcome = word === 'ran' ? 'failed' : 'paused';
    if (word !== 'not due')
      entries.push({ time, due: time, claimed: time, run: `tick:s:${time}`, attempts: 1, outcome });
  });
  close();
  return entries.map((entry) => unpackEntry('s', packEntry('s', entry)) as TickEntry);
}
