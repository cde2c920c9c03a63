import type { JobsOptions } from 'bullmq';
import { describe, expect, test } from 'vitest';
import { createRetention } from '../../src/workers/retention.js';

type Kept = JobsOptions['removeOnComplete'];

/** What each of these removes, where they succeed one right after the other. */
function removedBy(...kept: Kept[]): Kept[] {
  const { ends } = createRetention();
  const runs = kept.map((removeOnComplete) => ({ opts: { removeOnComplete } as JobsOptions }));
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

  test('one of 64 looks, for BullMQ may refuse the last', () => {
    const kept = removedBy(...Array.from({ length: 200 }, ten));
    const looking = [...kept.keys()].filter((index) => kept[index] !== undefined && 'age' in (kept[index] as object));
    expect(looking).toEqual([63, 127, 191, 199]);
  });
});
