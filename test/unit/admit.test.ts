import { describe, expect, it } from 'vitest';
import { admit } from '../../src/workers/admit.js';

const now = 1_000_000;
const definition = { version: 2, maxCrashes: 3 };

describe('a run that was taken', () => {
  it.each([
    ['that never crashed', {}, null],
    ['that crashed less often than it may', { stalledCounter: 2 }, null],
    ['that crashed as often as it may', { stalledCounter: 3 }, 'failed'],
    ['that was started many times, and never crashed', { attemptsStarted: 50 }, null],
    ['of an older version', { opts: { version: 1 } }, null],
    ['of a newer version', { opts: { version: 3 } }, 'too-new'],
    [
      'of a newer version, whose crashes newer code may have mended',
      { opts: { version: 3 }, stalledCounter: 9 },
      'too-new',
    ],
    ['on time', { opts: { expiresIn: 10 }, timestamp: now - 10 }, null],
    ['too late', { opts: { expiresIn: 10 }, timestamp: now - 11 }, 'skipped'],
    ['that had expired when it was enqueued', { opts: { expiresIn: -5 } }, 'skipped'],
    ['too late, that was started in time', { opts: { expiresIn: 10 }, timestamp: 0, attemptsMade: 1 }, null],
  ])('%s', (_, facts, type) => {
    expect(admit(run(facts))?.type ?? null).toBe(type);
  });

  it('of a newer version waits for longer each time, up to a minute', () => {
    const waits = [1, 2, 3, 4, 5, 6, 7, 100].map((attemptsStarted) =>
      admit(run({ opts: { version: 3 }, attemptsStarted })),
    );
    expect(waits).toMatchObject([2, 4, 8, 16, 32, 60, 60, 60].map((s) => ({ forMs: s * 1_000, version: 3 })));
  });

  it('is set aside for good, with the code and how often it crashed', () => {
    const outcome = admit(run({ stalledCounter: 4 }));
    expect(outcome).toMatchObject({ retryable: false, error: { code: 'run-quarantined', detail: 'crashes: 4' } });
  });
});

function run(facts: object): Parameters<typeof admit>[0] {
  const plain = { opts: {}, timestamp: now, stalledCounter: 0, attemptsMade: 0, attemptsStarted: 1 };
  return { job: { ...plain, ...facts }, definition, tick: null, startedAtMs: now } as never;
}
