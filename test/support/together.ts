import { expect } from 'vitest';

/**
 * Plays scenarios that do not disturb each other at the same time, each to its end, and fails with the names of those
 * that failed.
 */
export async function together(scenarios: Record<string, () => Promise<void>>): Promise<void> {
  const results = await Promise.allSettled(Object.values(scenarios).map((play) => play()));
  const failures = results.flatMap((result, index) =>
    result.status === 'rejected' ? [`${Object.keys(scenarios)[index]}: ${result.reason?.stack ?? result.reason}`] : [],
  );
  expect(failures).toEqual([]);
}
