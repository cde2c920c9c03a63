import { expect, test } from 'vitest';
import { trimMemory } from '../../src/trim-memory.js';

const megabyte = 1_048_576;

test('what nobody holds any more is the system’s again', async () => {
  let garbage: unknown[] | null = Array.from({ length: 1_000_000 }, (_, index) => ({ index }));
  const before = process.memoryUsage().heapTotal;
  expect(garbage).toHaveLength(1_000_000);
  garbage = null;
  await trimMemory();
  expect(process.memoryUsage().heapTotal).toBeLessThan(before - 20 * megabyte);
});
