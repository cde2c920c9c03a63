import { describe, expect, test } from 'vitest';
import { defineJob } from '../../src/jobs/define-job.js';
import { loadRegistry } from '../../src/jobs/load.js';

const catalog = { httpRequest: { allow: [] }, ping: { on: true } };
const none = { disabled: [], concurrency: new Map<string, number>() };

describe('switches by the environment', () => {
  test('disable jobs, and set how many runs go at once, over what the code says', async () => {
    const concurrency = new Map([
      ['heartbeat', 3],
      ['*', 7],
    ]);
    const registry = await loadRegistry(null, catalog, { disabled: ['memory-report'], concurrency });
    expect(registry.get('memory-report').enabled).toBe(false);
    expect(registry.get('heartbeat')).toMatchObject({ enabled: true, concurrency: 3 });
    expect(registry.get('http-request').concurrency).toBe(7);
  });

  test('leave all as it is where they say nothing', async () => {
    const registry = await loadRegistry(null, catalog, none);
    expect(registry.jobs.every(({ enabled, off }) => enabled || off !== null)).toBe(true);
  });

  test('that name no job are refused, all at once, with the nearest name', async () => {
    const switches = { disabled: ['heartbeet'], concurrency: new Map([['memory-repot', 1]]) };
    await expect(loadRegistry(null, catalog, switches)).rejects.toMatchObject({
      code: 'config-invalid',
      problems: [
        { where: 'RONDO_DISABLED_JOBS', expected: 'names of jobs (did you mean heartbeat?)', got: '"heartbeet"' },
        { where: 'RONDO_CONCURRENCY', expected: 'names of jobs (did you mean memory-report?)', got: '"memory-repot"' },
      ],
    });
  });
});

describe('a job that is called as a key of the ledger', () => {
  test.each(['cursor', 'ticks', 'claims', 'overlap'])(
    '%s, has no schedule that is called as a key of BullMQ',
    (name) => {
      const { problems } = defineJob({
        name,
        schedules: [
          { id: 'fine', every: '1h' },
          { id: 'wait', every: '1h' },
        ],
        run: () => null,
      });
      expect(problems).toMatchObject([{ where: `${name}: schedules[1].id`, got: '"wait"' }]);
    },
  );
});
