import { describe, expect, it } from 'vitest';
import { stuckReason } from '../../src/producers/processes.js';

describe('a run is taken for stuck', () => {
  it.each([
    ['within its timeout, and nothing is known of others', 29_000, 30_000, null, null],
    ['a moment after its timeout, in which it is ended', 32_000, 30_000, null, null],
    ['longer than its timeout', 34_000, 30_000, null, 'longer than its timeout of 30s'],
    ['longer than three times what is usual', 31_000, 600_000, 10_000, 'its runs take 10s as a rule'],
    ['three times what is usual', 30_000, 600_000, 10_000, null],
    ['many times what is usual, and short all the same', 9_000, 600_000, 5, null],
    ['long, of a job whose timeout nobody knows', 9_000_000, null, null, null],
  ])('%s: %d ms', (_, runningMs, timeoutMs, typicalMs, expected) => {
    expect(stuckReason(runningMs, timeoutMs, typicalMs)).toBe(expected);
  });
});
