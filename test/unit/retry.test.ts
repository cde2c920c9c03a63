import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type RetryPolicy, retryDelay } from '../../src/jobs/retry.js';

const steady: RetryPolicy = { attempts: 10, backoff: 'exponential', delay: 1_000, maxDelay: 300_000, jitter: 0 };
const middle = () => 0.5;

function delays(policy: RetryPolicy, count: number, random = middle): number[] {
  return Array.from({ length: count }, (_, index) => retryDelay(index + 1, policy, random));
}

describe('the delay before the next attempt', () => {
  test('stays the same where it is fixed', () => {
    expect(delays({ ...steady, backoff: 'fixed' }, 4)).toEqual([1_000, 1_000, 1_000, 1_000]);
  });

  test('grows by itself where it is linear', () => {
    expect(delays({ ...steady, backoff: 'linear' }, 4)).toEqual([1_000, 2_000, 3_000, 4_000]);
  });

  test('doubles where it is exponential', () => {
    expect(delays(steady, 4)).toEqual([1_000, 2_000, 4_000, 8_000]);
  });

  test('ends its growth at maxDelay, and stays there for a thousand attempts', () => {
    expect(delays({ ...steady, maxDelay: 5_000 }, 5)).toEqual([1_000, 2_000, 4_000, 5_000, 5_000]);
    expect(retryDelay(1_000, steady, middle)).toBe(300_000);
  });

  test('is maxDelay where the first delay is longer already', () => {
    expect(delays({ ...steady, delay: 10_000, maxDelay: 5_000 }, 2)).toEqual([5_000, 5_000]);
  });

  test('varies by the jitter both ways', () => {
    const policy = { ...steady, jitter: 0.2 };
    expect(retryDelay(1, policy, () => 0)).toBe(800);
    expect(retryDelay(1, policy, middle)).toBe(1_000);
    expect(retryDelay(1, policy, () => 0.999_999)).toBe(1_200);
  });

  test('is not varied beyond maxDelay', () => {
    expect(retryDelay(30, { ...steady, jitter: 1 }, () => 0.999_999)).toBe(300_000);
  });

  test('is nothing where the policy says nothing, however many attempts failed', () => {
    expect(retryDelay(1_000, { ...steady, delay: 0, jitter: 1 }, middle)).toBe(0);
  });

  test('is a whole number of ms within its bounds, whatever the policy', () => {
    const policies = fc.record<RetryPolicy>({
      attempts: fc.constant(1_000),
      backoff: fc.constantFrom('fixed', 'linear', 'exponential'),
      delay: fc.nat(86_400_000),
      maxDelay: fc.nat(86_400_000),
      jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    const shares = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(policies, fc.integer({ min: 1, max: 1_000 }), shares, (policy, failed, share) => {
        const delay = retryDelay(failed, policy, () => share);
        const least = Math.min(policy.delay, policy.maxDelay) * (1 - policy.jitter);
        expect(delay).toSatisfy(Number.isSafeInteger);
        expect(delay).toBeGreaterThanOrEqual(Math.floor(least));
        expect(delay).toBeLessThanOrEqual(policy.maxDelay);
      }),
    );
  });
});
