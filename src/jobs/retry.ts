/** How a failed run is tried again. Delays in ms; `jitter` is a share of the delay, 0 to 1, by which it varies both ways. */
export interface RetryPolicy {
  readonly attempts: number;
  readonly backoff: 'fixed' | 'linear' | 'exponential';
  readonly delay: number;
  readonly maxDelay: number;
  readonly jitter: number;
}

/**
 * How long to wait before the next attempt, in whole ms, never above the policy's `maxDelay`.
 *
 * @param failed how many attempts have failed so far, from 1
 * @param random a number in [0, 1), as from Math.random
 */
export function retryDelay(failed: number, policy: RetryPolicy, random: () => number): number {
  const base = Math.min(growth[policy.backoff](failed) * policy.delay, policy.maxDelay);
  const varied = base * (1 + policy.jitter * (2 * random() - 1));
  return Math.round(Math.min(varied, policy.maxDelay));
}

const growth: Record<RetryPolicy['backoff'], (failed: number) => number> = {
  fixed: () => 1,
  linear: (failed) => failed,
  exponential: (failed) => 2 ** (failed - 1),
};
