import type { JobsOptions } from 'bullmq';
import { describe, expect, test } from 'vitest';
import { createRetention } from '../../src/workers/retention.js';

type Kept = JobsOptions['removeOnComplete'];

const runOf = (removeOnComplete: Kept) => ({ opts: { removeOnComplete } as JobsOptions });

/** What each of these removes, where they succeed one right after the other. */
function removedBy(...kept: Kept[]): Kept[] {
  const { ends } = createRetention();
  const runs = kept.map(runOf);
  runs.forEach(ends);
  return runs.map(({ opts }) => opts.removeOnComplete);
}

const nothing = { count: -1 };
const ten = () => ({ age: 60, count: 10 });

describe('of runs that succeed one right after the other', () => {
  test('the last alone removes others', () => {
    expect(removedBy(ten(), ten(), ten())).toEqual([nothing, nothing, ten()]);
  });

  test('each removes others where their limits differ', () => {
    const [fewer, younger] = [
      { age: 60, count: 3 },
      { age: 5, count: 3 },
    ];
    expect(removedBy(ten(), fewer, younger)).toEqual([ten(), fewer, younger]);
  });

  test('one that is not kept itself neither relieves another nor is relieved', () => {
    const gone = { age: 60, count: 0 };
    expect(removedBy(ten(), true, true, gone, gone, ten())).toEqual([ten(), true, true, gone, gone, ten()]);
  });

  test.each([5, { age: 60, limit: 1 }, null as never])('what says %o of others is left as it is', (kept) => {
    expect(removedBy(kept, kept)).toEqual([kept, kept]);
  });

  test('none relieves one that has ended', () => {
    const { ends, ended } = createRetention();
    const [first, second] = [runOf(ten()), runOf(ten())];
    ends(first);
    ended(first);
    ends(second);
    expect(first.opts.removeOnComplete).toEqual(ten());
  });

  test('so many at most leave it to one that BullMQ may refuse, until it has accepted one', () => {
    const { ends, ended } = createRetention();
    const runs = Array.from({ length: 100 }, () => runOf(ten()));
    runs.forEach(ends);
    const looking = runs.filter(
      ({ opts }) => opts.removeOnComplete !== undefined && 'age' in (opts.removeOnComplete as object),
    );
    expect(looking).toHaveLength(68);

    for (const run of runs.slice(0, 32)) ended(run);
    const [next, last] = [runOf(ten()), runOf(ten())];
    [next, last].forEach(ends);
    expect(next.opts.removeOnComplete).toEqual(ten());
    ended(next);
    const later = runOf(ten());
    ends(later);
    expect(last.opts.removeOnComplete).toEqual(nothing);
  });
});
