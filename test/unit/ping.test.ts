import { describe, expect, it } from 'vitest';
import { ping } from '../../src/jobs/catalog/ping.js';
import { runJob } from '../../src/testing/index.js';

describe('ping', () => {
  it('does nothing unless told', async () => {
    expect((await runJob(ping({ on: true }), {})).result).toBe('');
  });

  it('takes as long as it is told to, and ends at once when its signal aborts', async () => {
    const startedAt = performance.now();
    await runJob(ping({ on: true }), { sleepMs: 50 });
    expect(performance.now() - startedAt).toBeGreaterThan(48);

    const stop = AbortSignal.timeout(20);
    await expect(runJob(ping({ on: true }), { sleepMs: 60_000 }, { signal: stop })).rejects.toThrow();
    expect(performance.now() - startedAt).toBeLessThan(30_000);
  });

  it('returns as much as it is told to', async () => {
    expect((await runJob(ping({ on: true }), { bytes: 1_000 })).result).toBe('x'.repeat(1_000));
  });

  it.each([
    [0.24, 'fails'],
    [0.25, 'succeeds'],
  ])('of a rate of 0.25 fails below it: at %d it %s', async (drawn, comesTo) => {
    const job = ping({ on: true, random: () => drawn });
    const ended = runJob(job, { failRate: 0.25 }).then(
      () => 'succeeds',
      () => 'fails',
    );
    expect(await ended).toBe(comesTo);
  });

  it('is off unless it is turned on, and says how', () => {
    expect(ping({ on: false })).toMatchObject({ enabled: false, off: 'RONDO_PING is not on' });
    expect(ping({ on: true })).toMatchObject({ enabled: true, off: null });
  });
});
