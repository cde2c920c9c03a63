import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import type { Timing } from '../../src/jobs/schedule.js';
import {
  type Chain,
  hashOf,
  ownerOf,
  type Plan,
  type PlanInput,
  plan,
  type Specification,
  type Stored,
  type Wanted,
  wantedOf,
} from '../../src/producers/plan.js';

const app = 'shop';
const minute = 60_000;
const now = Date.UTC(2026, 10, 21, 12, 0, 30);
const nextMinute = Date.UTC(2026, 10, 21, 12, 1);
const healthy = chain(nextMinute, 'delayed');
const nothing: Plan = { changes: [], unchanged: 0, conflicts: [], refused: null };

function chain(next: number | null, iteration: Chain['iteration'], edited = false): Chain {
  return { next, iteration, cursor: { at: now, next: next ?? nextMinute, pause: null }, claims: false, edited };
}

function specify(part: Partial<Specification> = {}): Specification {
  const timing = { kind: 'every', every: minute } as const;
  const policy = { misfire: 'run-once', grace: minute, maxCatchUp: 100 } as const;
  return { job: 'report', description: '', timing, policy, payload: {}, options: { attempts: 3 }, ...part };
}

function want(id: string, part: Partial<Specification> = {}): Wanted {
  const specification = specify(part);
  return { id, specification, hash: hashOf(specification) };
}

function store(id: string, part: Partial<Specification> = {}, owner = ownerOf(app)): Stored {
  const { specification, hash } = want(id, part);
  return { id, specification, hash, owner, release: '1.0.0' };
}

/** A store with these entries, whose chains are healthy unless told. */
function planOf(
  wanted: readonly Wanted[],
  stored: readonly Stored[],
  rest: Omit<Partial<PlanInput>, 'chains'> & { chains?: Record<string, Chain | undefined> } = {},
): Plan {
  const chains = { ...Object.fromEntries(stored.map(({ id }) => [id, healthy])), ...rest.chains };
  const known = Object.entries(chains).flatMap(([id, chain]) => (chain ? [[id, chain] as const] : []));
  return plan({
    app,
    wanted,
    stored: new Map(stored.map((item) => [item.id, item])),
    unreadable: new Set(),
    now,
    ...rest,
    chains: new Map(known),
  });
}

const ids = (count: number, prefix = 's') => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

describe('plan', () => {
  test('has nothing to do where nothing is wanted and nothing stored', () => {
    expect(planOf([], [])).toEqual(nothing);
  });

  test('leaves alone what is stored as it is wanted, and runs', () => {
    expect(planOf([want('a'), want('b')], [store('a'), store('b')])).toEqual({ ...nothing, unchanged: 2 });
  });

  test.each<Chain['iteration']>(['delayed', 'queued', 'active'])(
    'leaves alone a chain whose iteration is %s',
    (iteration) => {
      expect(planOf([want('a')], [store('a')], { chains: { a: chain(now - minute, iteration) } }).changes).toEqual([]);
    },
  );

  test('adds what is not stored, with its first tick', () => {
    const wanted = want('a');
    expect(planOf([wanted], [])).toEqual({
      ...nothing,
      changes: [{ kind: 'add', wanted, before: null, after: nextMinute }],
    });
  });

  test('adds one whose ticks have all passed, so that it is known, without a next tick', () => {
    const wanted = want('a', { timing: { kind: 'at', at: now - 1 } });
    expect(planOf([wanted], []).changes).toEqual([{ kind: 'add', wanted, before: null, after: null }]);
  });

  test.each<[string, Partial<Specification>]>([
    ['description', { description: 'Says how it goes' }],
    ['timing', { timing: { kind: 'every', every: 5 * minute } }],
    ['payload', { payload: { region: 'eu' } }],
    ['options', { options: { attempts: 5 } }],
  ])('changes what is stored with another %s, and names the field', (field, part) => {
    const wanted = want('a', part);
    expect(planOf([wanted], [store('a')])).toEqual({
      ...nothing,
      changes: [
        {
          kind: 'change',
          wanted,
          fields: [field],
          before: nextMinute,
          after: field === 'timing' ? Date.UTC(2026, 10, 21, 12, 5) : nextMinute,
        },
      ],
    });
  });

  test('names every field that changes', () => {
    const [change] = planOf([want('a', { description: 'new', payload: [1] })], [store('a')]).changes;
    expect(change).toMatchObject({ kind: 'change', fields: ['description', 'payload'] });
  });

  test('changes a schedule that is broken too, rather than heal it', () => {
    const { changes } = planOf([want('a', { payload: [1] })], [store('a')], { chains: { a: undefined } });
    expect(changes).toMatchObject([{ kind: 'change', before: null, after: nextMinute }]);
  });

  test('shows the end of a schedule whose change leaves it no tick', () => {
    const { changes } = planOf([want('a', { timing: { kind: 'every', every: minute, endsAt: now } })], [store('a')]);
    expect(changes).toMatchObject([{ kind: 'change', fields: ['timing'], before: nextMinute, after: null }]);
  });

  test('takes the rule of a schedule that is computed by code', () => {
    const wanted = { ...want('a', { timing: { kind: 'next' } }), next: (after: Date) => new Date(after.getTime() + 7) };
    expect(planOf([wanted], []).changes).toMatchObject([{ kind: 'add', after: now + 7 }]);
  });
});

describe('a broken chain', () => {
  test.each<[string, Chain | undefined, string, number | null]>([
    ['that is unknown', undefined, 'its scheduler is gone', null],
    ['without a next tick', chain(null, 'gone'), 'its scheduler is gone', null],
    ['whose next run is gone', chain(nextMinute, 'gone'), 'its next run is gone', nextMinute],
    ['that somebody edited', chain(nextMinute, 'delayed', true), 'its scheduler was edited by hand', nextMinute],
    ['whose last run was its end', chain(now - minute, 'finished'), 'its chain ended', now - minute],
  ])('%s is healed, with the reason', (_, broken, reason, before) => {
    const wanted = want('a');
    expect(planOf([wanted, want('b')], [store('a'), store('b')], { chains: { a: broken } })).toEqual({
      ...nothing,
      unchanged: 1,
      changes: [{ kind: 'heal', wanted, reason, before, after: nextMinute }],
    });
  });

  test.each<Chain | undefined>([undefined, chain(null, 'gone'), chain(now, 'gone'), chain(now, 'finished')])(
    'of a schedule that has ended is left at its end (%j)',
    (last) => {
      for (const timing of [
        { kind: 'at', at: now },
        { kind: 'every', every: minute, endsAt: now },
        { kind: 'cron', cron: '@daily', timezone: 'UTC', endsAt: now },
      ] as const) {
        const result = planOf([want('a', { timing })], [store('a', { timing })], { chains: { a: last } });
        expect(result).toEqual({ ...nothing, unchanged: 1 });
      }
    },
  );
});

describe('a schedule whose last tick was cancelled before it was due', () => {
  const over: Chain = { ...chain(null, 'gone'), cursor: { at: nextMinute, next: null, pause: null } };

  test.each<Timing>([{ kind: 'at', at: nextMinute }, { kind: 'next' }])('is over: nothing is healed (%j)', (timing) => {
    const wanted = { ...want('a', { timing }), next: () => new Date(nextMinute) };
    const result = planOf([wanted], [store('a', { timing })], { chains: { a: over } });
    expect(result).toEqual({ ...nothing, unchanged: 1 });
  });

  test('is over until it would have been due, spread and all, where code computes the times', () => {
    const timing = { kind: 'next', spread: minute, offset: minute } as const;
    const wanted = { ...want('a', { timing }), next: () => new Date(now - 1) };
    const past: Chain = { ...over, cursor: { at: now - 1, next: null, pause: null } };
    expect(planOf([wanted], [store('a', { timing })], { chains: { a: past } }).changes).toEqual([]);
  });

  test('is not over where its ledger says so and its times do not', () => {
    const past: Chain = { ...over, cursor: { at: now - minute, next: null, pause: null } };
    expect(planOf([want('a')], [store('a')], { chains: { a: past } }).changes).toMatchObject([{ kind: 'heal' }]);
  });

  test('is taken up again once that time is past, where code computes the times: it may say another thing by now', () => {
    const timing = { kind: 'next' } as const;
    const wanted = { ...want('a', { timing }), next: () => new Date(nextMinute) };
    const past: Chain = { ...over, cursor: { at: now - minute, next: null, pause: null } };
    const { changes } = planOf([wanted], [store('a', { timing })], { chains: { a: past } });
    expect(changes).toMatchObject([{ kind: 'heal', after: nextMinute }]);
  });
});

describe('what is no longer wanted', () => {
  test('is removed where this app declared it', () => {
    const [gone, kept] = [store('gone'), store('kept')];
    expect(planOf([want('kept')], [gone, kept])).toEqual({
      ...nothing,
      unchanged: 1,
      changes: [{ kind: 'remove', stored: gone, before: nextMinute, after: null }],
    });
  });

  test('is left alone where another app or the API made it', () => {
    const others = [store('a', {}, ownerOf('warehouse')), store('b', {}, 'api'), store('c', {}, 'code:shop-2')];
    expect(planOf([], others)).toEqual(nothing);
  });

  test.each([
    [4, 4],
    [5, 10],
    [5, 100],
  ])('is removed where it is %i of %i', (leaving, owned) => {
    const kept = ids(owned - leaving, 'kept');
    const stored = [...ids(leaving, 'gone'), ...kept].map((id) => store(id));
    const { changes, refused } = planOf(
      kept.map((id) => want(id)),
      stored,
    );
    expect(refused).toBeNull();
    expect(changes.filter(({ kind }) => kind === 'remove')).toHaveLength(leaving);
  });

  test.each([
    [5, 5],
    [5, 9],
    [60, 100],
  ])('stays where it is %i of %i, and says so, until somebody has said yes', (leaving, owned) => {
    const kept = ids(owned - leaving, 'kept');
    const gone = ids(leaving, 'gone');
    const stored = [...gone, ...kept].map((id) => store(id));
    const wanted = kept.map((id) => want(id));
    expect(planOf(wanted, stored)).toEqual({
      ...nothing,
      unchanged: kept.length,
      refused: { ids: gone.toSorted(), owned },
    });
    const agreed = planOf(wanted, stored, { removeMany: true });
    expect(agreed.refused).toBeNull();
    expect(agreed.changes).toHaveLength(leaving);
  });

  test('stays at the next turn too, when what was added meanwhile is stored', () => {
    const gone = ids(6, 'gone');
    const added = ids(7, 'added');
    const wanted = added.map((id) => want(id));
    expect(
      planOf(
        wanted,
        gone.map((id) => store(id)),
      ).refused,
    ).not.toBeNull();
    const held = gone.map((id) => ({ ...store(id), held: true as const }));
    const next = planOf(wanted, [...held, ...added.map((id) => store(id))]);
    expect(next).toEqual({ ...nothing, unchanged: 7, refused: { ids: gone, owned: 13 } });
  });

  const off = { enabled: false } as const;

  test('goes on where it is one of most that are disabled, or removed, until somebody has said yes', () => {
    const stored = ids(8).map((id) => store(id));
    const wanted = ids(6).map((id, index) => want(id, index < 4 ? off : {}));
    expect(planOf(wanted, stored)).toEqual({
      ...nothing,
      unchanged: 2,
      refused: { ids: ['s0', 's1', 's2', 's3', 's6', 's7'], owned: 8 },
    });
    const { changes, refused } = planOf(wanted, stored, { removeMany: true });
    expect(refused).toBeNull();
    expect(changes.map(({ kind, after }) => [kind, after])).toEqual([
      ...ids(4).map(() => ['change', null]),
      ...ids(2).map(() => ['remove', null]),
    ]);
  });

  test('goes without a word where it is disabled already, and counts for nothing', () => {
    const dead = ids(7, 'dead').map((id) => store(id, off));
    const live = ids(6, 'live').map((id) => store(id));
    const wanted = ids(6, 'live').map((id) => want(id));
    expect(planOf(wanted, [...live, ...dead])).toMatchObject({
      changes: ids(7).map(() => ({ kind: 'remove' })),
      refused: null,
    });
    expect(planOf([], [...live, ...dead]).refused).toEqual({ ids: ids(6, 'live'), owned: 6 });
    expect(planOf([], [...live, ...dead]).changes).toHaveLength(7);
  });

  test('lets a held schedule go back to normal once it is declared again', () => {
    const held = { ...store('a'), held: true as const };
    expect(planOf([want('a')], [held]).changes).toMatchObject([{ kind: 'change', fields: ['held'] }]);
  });

  test('counts only what this app declared', () => {
    const stored = [...ids(5, 'gone').map((id) => store(id)), ...ids(50, 'other').map((id) => store(id, {}, 'api'))];
    expect(planOf([], stored).refused).toEqual({ ids: ids(5, 'gone'), owned: 5 });
  });

  test('holds up nothing else while its removal is refused', () => {
    const stored = ids(6, 'gone').map((id) => store(id));
    expect(planOf([want('new')], stored)).toMatchObject({
      changes: [{ kind: 'add' }],
      refused: { owned: 6 },
    });
  });
});

describe('a schedule that was made at run time', () => {
  const owned = (part: Partial<Stored> = {}, specification: Partial<Specification> = {}) => ({
    ...store('a', specification, 'api'),
    ...part,
  });
  const long = now - 5_000;

  test('is healed as a declared one is, by whichever app looks', () => {
    const { changes, unchanged } = planOf([], [owned()], { chains: { a: chain(nextMinute, 'gone') } });
    expect(changes).toMatchObject([{ kind: 'heal', wanted: { id: 'a' }, reason: 'its next run is gone' }]);
    expect(unchanged).toBe(0);
  });

  test.each([
    ['has ended', { timing: { kind: 'at', at: now - 1 } as const }],
    ['is disabled', { enabled: false as const }],
  ])('is left alone without a chain where it %s', (_what, specification) => {
    expect(planOf([], [owned({}, specification)], { chains: { a: undefined } })).toEqual(nothing);
  });

  test.each([
    ['a change', {}, 'heal'],
    ['a removal', { removal: true as const }, 'remove'],
  ])('has %s finished that was left half done, and not while it is under way', (_what, unsettled, kind) => {
    const left = owned({ unsettled: { since: long, before: null, ...unsettled } });
    expect(planOf([], [left]).changes).toMatchObject([{ kind }]);
    const underWay = owned({ unsettled: { since: long + 1, before: null, ...unsettled } });
    expect(planOf([], [underWay], { chains: { a: undefined } })).toEqual(nothing);
    const clockAhead = owned({ unsettled: { since: now + 3_600_000, before: null, ...unsettled } });
    expect(planOf([], [clockAhead]).changes).toMatchObject([{ kind }]);
  });

  test('is healed where code declares its id too, which is a conflict', () => {
    const { changes, conflicts } = planOf([want('a')], [owned()], { chains: { a: undefined } });
    expect(changes).toMatchObject([{ kind: 'heal', wanted: { id: 'a' } }]);
    expect(conflicts).toEqual([{ id: 'a', reason: 'it belongs to api' }]);
  });
});

describe('a schedule that cannot be what the code wants', () => {
  test.each(['code:warehouse', 'api'])('is left to its owner %s', (owner) => {
    expect(planOf([want('a', { payload: [1] })], [store('a', {}, owner)])).toEqual({
      ...nothing,
      conflicts: [{ id: 'a', reason: `it belongs to ${owner}` }],
    });
  });

  test('is no conflict where it is disabled, and another has it', () => {
    expect(planOf([want('a', { enabled: false })], [store('a', {}, 'code:warehouse')])).toEqual({
      ...nothing,
      unchanged: 1,
    });
  });

  test('stays with its job', () => {
    const { changes, conflicts } = planOf([want('a', { job: 'digest' })], [store('a')]);
    expect(changes).toEqual([]);
    expect(conflicts).toEqual([{ id: 'a', reason: expect.stringContaining('schedule of the job report') }]);
  });

  test('is left as it is where its entry cannot be read', () => {
    expect(planOf([want('a'), want('b')], [], { unreadable: new Set(['a']) })).toMatchObject({
      changes: [{ kind: 'add', wanted: { id: 'b' } }],
      unchanged: 0,
      conflicts: [{ id: 'a', reason: 'its entry in the store cannot be read' }],
    });
  });

  test('is no part of what is unchanged', () => {
    expect(planOf([want('a'), want('b')], [store('a', {}, 'api'), store('b')]).unchanged).toBe(1);
  });
});

describe('the hash of a specification', () => {
  test('is the same whatever the order of the keys, at any depth', () => {
    const one = specify({ payload: { a: 1, b: { c: [{ d: 1, e: 2 }], f: null } } });
    const other = specify({ payload: { b: { f: null, c: [{ e: 2, d: 1 }] }, a: 1 } });
    expect(hashOf(one)).toBe(hashOf(Object.fromEntries(Object.entries(other).reverse()) as unknown as Specification));
  });

  test('differs with any part, and with the order of a list', () => {
    const hashes = [
      specify(),
      specify({ job: 'digest' }),
      specify({ description: 'x' }),
      specify({ timing: { kind: 'every', every: minute, startsAt: 1 } }),
      specify({ payload: [1, 2] }),
      specify({ payload: [2, 1] }),
      specify({ options: {} }),
    ].map(hashOf);
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  test('survives the way through the store', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (payload) => {
        const specification = specify({ payload });
        expect(hashOf(JSON.parse(JSON.stringify(specification)))).toBe(hashOf(specification));
      }),
    );
  });
});

describe('wantedOf', () => {
  const run = () => null;
  const schedules = [
    { id: 'on', every: '1m' as const },
    { id: 'off', every: '1m' as const, enabled: false },
  ];

  test('disables schedules that are, and those of a disabled job', () => {
    const jobs = [
      defineJob({ name: 'report', schedules, run }),
      defineJob({ name: 'digest', schedules: [{ id: 'digest', every: '1m' }], enabled: false, run }),
    ];
    const found = wantedOf(createRegistry(jobs)).map(({ id, specification: it }) => [id, it.enabled]);
    expect(found).toEqual([
      ['on', undefined],
      ['off', false],
      ['digest', false],
    ]);
  });

  test('specifies a schedule in plain JSON, with what BullMQ is told of its runs', () => {
    const job = defineJob({
      name: 'report',
      description: 'of the job',
      schedules,
      retry: { attempts: 7 },
      priority: 2,
      run,
    });
    const [wanted] = wantedOf(createRegistry([job]));
    expect(wanted?.specification).toMatchObject({
      job: 'report',
      timing: { kind: 'every', every: minute },
      payload: {},
      options: { attempts: 7, priority: 2 },
    });
    expect(JSON.parse(JSON.stringify(wanted?.specification))).toEqual(wanted?.specification);
  });
});

describe('a plan that has been applied', () => {
  const timings = fc.constantFrom<Specification['timing']>(
    { kind: 'every', every: minute },
    { kind: 'every', every: minute, endsAt: now },
    { kind: 'cron', cron: '0 7 * * *', timezone: 'Europe/Paris' },
    { kind: 'at', at: now - 1 },
    { kind: 'at', at: now + 1 },
  );
  const parts = fc.record(
    {
      timing: timings,
      payload: fc.constantFrom({}, [1]),
      job: fc.constantFrom('report', 'digest'),
      enabled: fc.constant(false as const),
    },
    { requiredKeys: ['timing', 'payload', 'job'] },
  );
  const chains = fc.option(
    fc.record<Chain>({
      next: fc.constantFrom(null, now - minute, nextMinute),
      iteration: fc.constantFrom('delayed', 'queued', 'active', 'finished', 'gone'),
      cursor: fc.constant(null),
      claims: fc.boolean(),
      edited: fc.boolean(),
    }),
  );
  const someIds = fc.constantFrom(...ids(12));
  const wantedLists = fc
    .dictionary(someIds, parts)
    .map((all) => Object.entries(all).map(([id, part]) => want(id, part)));
  const storedLists = fc
    .dictionary(someIds, fc.tuple(parts, fc.constantFrom(ownerOf(app), ownerOf(app), ownerOf('other'), 'api'), chains))
    .map((all) => Object.entries(all).map(([id, [part, owner, chain]]) => ({ stored: store(id, part, owner), chain })));
  const unreadable = fc.uniqueArray(someIds, { maxLength: 2 });
  const flags = fc.boolean();

  test('leaves nothing to change, and what it could not change as it was', () => {
    fc.assert(
      fc.property(wantedLists, storedLists, unreadable, flags, (wanted, entries, broken, removeMany) => {
        const readable = entries.filter(({ stored: { id } }) => !broken.includes(id));
        const input: PlanInput = {
          app,
          wanted,
          stored: new Map(readable.map(({ stored }) => [stored.id, stored])),
          unreadable: new Set(broken),
          chains: new Map(readable.flatMap(({ stored, chain }) => (chain ? [[stored.id, chain]] : []))),
          now,
          removeMany,
        };
        const first = plan(input);
        const second = plan({ ...input, ...applied(first, input) });
        expect(second).toEqual({
          changes: [],
          unchanged: wanted.filter(({ id }) => !first.refused?.ids.includes(id)).length - first.conflicts.length,
          conflicts: first.conflicts,
          refused: first.refused && { ids: first.refused.ids, owned: expect.any(Number) },
        });
      }),
      { numRuns: 500 },
    );
  });

  /** What the store and BullMQ hold once each change is made. */
  function applied({ changes, refused }: Plan, before: PlanInput): Pick<PlanInput, 'stored' | 'chains'> {
    const stored = new Map(before.stored);
    const chains = new Map(before.chains);
    for (const change of changes) {
      const { id } = change.kind === 'remove' ? change.stored : change.wanted;
      chains.delete(id);
      stored.delete(id);
      if (change.kind === 'remove') continue;
      stored.set(id, { ...change.wanted, owner: before.stored.get(id)?.owner ?? ownerOf(app), release: '2.0.0' });
      if (change.after !== null) chains.set(id, chain(change.after, 'delayed'));
    }
    for (const id of refused?.ids ?? []) stored.set(id, { ...(stored.get(id) as Stored), held: true });
    return { stored, chains };
  }
});
