import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { caughtUpId, iterationId, triggeredId } from '../../src/broker/repeat.js';
import { packEntry, type TickEntry, tickOutcomes, unpackEntry } from '../../src/broker/tick-entry.js';

const name = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,63}$/);
const time = fc.integer({ min: 0, max: Date.parse('2200-01-01') });
const distance = fc.integer({ min: -86_400_000, max: 400 * 86_400_000 });
const outcome = fc.constantFrom(...tickOutcomes);
/** Short enough to be kept whole; a bar at its end is the only thing that is not kept. */
const words = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 });
const reason = fc.option(
  words.filter((text) => text.length <= 80 && !text.endsWith('|')),
  { nil: undefined },
);

const scheduleAndEntry: fc.Arbitrary<{ schedule: string; entry: TickEntry }> = name.chain((schedule) =>
  fc.oneof(runOf(schedule), range()).map((entry) => ({ schedule, entry: withoutNothing(entry) })),
);

describe('an entry of the ledger', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(scheduleAndEntry, ({ schedule, entry }) => {
        expect(unpackEntry(schedule, packEntry(schedule, entry))).toEqual(entry);
      }),
      { numRuns: 2_000 },
    );
  });

  it('differs from that of any other tick, since a sorted set keeps equal ones once', () => {
    fc.assert(
      fc.property(name, outcome, time, time, (schedule, is, one, other) => {
        fc.pre(one !== other);
        const at = (tick: number) => packEntry(schedule, usual(schedule, tick, is));
        expect(at(one)).not.toBe(at(other));
      }),
    );
  });

  it('of a run on time takes at most 90 bytes, however long the id of its schedule is', () => {
    const schedule = 's'.repeat(64);
    const now = Date.parse('2026-11-21T07:00:00Z');
    for (const is of tickOutcomes) {
      expect(bytes(packEntry(schedule, usual(schedule, now, is)))).toBeLessThanOrEqual(90);
      expect(bytes(packEntry(schedule, { ...usual(schedule, now, is), run: caughtUpId(schedule, now) }))).toBeLessThan(
        91,
      );
    }
    const weekend = { time: now, to: now + 2 * 86_400_000, count: 172_801, outcome: 'coalesced' } as const;
    expect(bytes(packEntry(schedule, { ...weekend, reason: 'into 2026-11-23T07:00:00.000Z' }))).toBeLessThanOrEqual(90);
  });

  it.each([
    ['of ASCII', 'x'],
    ['of signs beyond it', 'é'],
    ['of pairs of surrogates', '🌀'],
  ])('stays under 200 bytes with a long reason %s', (_, sign) => {
    const entry = { ...usual('digest', Date.now(), 'failed'), reason: sign.repeat(5_000) };

    const packed = packEntry('digest', entry);

    expect(bytes(packed)).toBeLessThan(200);
    expect(unpackEntry('digest', packed)).toMatchObject({ outcome: 'failed', time: entry.time });
  });

  it('that a hand, a crash or another release has made is none, or whole: reading it never throws', () => {
    const garbage = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 120 }),
      fc.stringMatching(/^[0-9a-z?|=.\- ]{0,60}$/),
      fc.json(),
    );
    fc.assert(
      fc.property(name, garbage, (schedule, text) => {
        const entry = unpackEntry(schedule, text);
        if (entry) expectWhole(entry);
      }),
      { numRuns: 5_000 },
    );
  });

  it('that is cut off anywhere, or has one sign changed, is none or whole', () => {
    fc.assert(
      fc.property(scheduleAndEntry, fc.nat(), fc.string({ maxLength: 2 }), ({ schedule, entry }, where, sign) => {
        const packed = packEntry(schedule, entry);
        const at = where % packed.length;
        for (const broken of [packed.slice(0, at), packed.slice(0, at) + sign + packed.slice(at + 1)]) {
          const found = unpackEntry(schedule, broken);
          if (found) expectWhole(found);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['nothing', ''],
    ['a word', 'hello'],
    ['JSON', '{"time":1795287000000,"outcome":"succeeded"}'],
    ['an outcome of a newer release', '1z|mi9o1c00|||||1'],
    ['a layout of a newer release', '3s|mi9o1c00|0|0|0|0|1'],
    ['a head alone', '1s'],
    ['a run without its times', '1s|mi9o1c00'],
    ['a time that is no number', '1s|NOW|0|0|0|0|1'],
    ['a time that no calendar has', '1s|zzzzzzzzzzz|0|0|0|0|1'],
    ['a range that ends before it begins', '2p|mi9o1c00|-5|3'],
    ['a range of none', '2p|mi9o1c00|5|0'],
  ])('is not read from %s', (_, text) => {
    expect(unpackEntry('digest', text)).toBeNull();
  });
});

function runOf(schedule: string): fc.Arbitrary<TickEntry> {
  const offset = fc.oneof(fc.constant(0), fc.nat(86_400_000));
  const wait = fc.option(distance, { nil: undefined });
  return fc
    .record({ time, offset, late: distance, wait, took: wait, outcome, reason, attempts: fc.nat(1_000), id: fc.nat(3) })
    .map(({ time: at, offset: later, late, wait: waited, took, id, ...rest }) => {
      const due = at + later;
      const started = waited === undefined ? undefined : due + late + waited;
      const finished = started === undefined || took === undefined ? undefined : started + took;
      const ids = [
        iterationId(schedule, due),
        iterationId(schedule, due + 60_000),
        caughtUpId(schedule, at),
        triggeredId(schedule, 'by-hand'),
      ];
      return { ...rest, time: at, due, claimed: due + late, started, finished, run: ids[id] ?? '' };
    })
    .map((entry) => entry as TickEntry);
}

function range(): fc.Arbitrary<TickEntry> {
  return fc
    .record({ time, span: fc.nat(400 * 86_400_000), count: fc.integer({ min: 1, max: 1e9 }), outcome, reason })
    .map(({ span, ...rest }) => ({ ...rest, to: rest.time + span }));
}

function withoutNothing(entry: TickEntry): TickEntry {
  return Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined)) as unknown as TickEntry;
}

function usual(schedule: string, at: number, is: TickEntry['outcome']) {
  const run = iterationId(schedule, at);
  return {
    time: at,
    due: at,
    claimed: at + 12,
    started: at + 12,
    finished: at + 29_000,
    run,
    attempts: 3,
    outcome: is,
  };
}

/** What is read is a time that a calendar has, and all its fields are what they should be. */
function expectWhole(entry: TickEntry): void {
  for (const [field, value] of Object.entries(entry)) {
    if (['outcome', 'reason', 'run'].includes(field)) expect(value, field).toEqual(expect.any(String));
    else expect(Number.isSafeInteger(value), `${field} is ${value}`).toBe(true);
  }
  expect(tickOutcomes).toContain(entry.outcome);
  const times = 'to' in entry ? [entry.time, entry.to] : [entry.time, entry.due, entry.claimed];
  for (const at of times) expect(() => new Date(at).toISOString(), String(at)).not.toThrow();
}

const bytes = (text: string) => Buffer.byteLength(text);
