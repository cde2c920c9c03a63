import { describe, expect, it } from 'vitest';
import { updateEntry } from '../../src/producers/store.js';
import { commands, rowsOf } from '../support/commands.js';
import { fixture } from '../support/harness.js';
import { writeJobs } from '../support/jobs-module.js';

describe('schedules in operation', () => {
  it('are paused, with who, why and until when for others to read, and go on', async () => {
    const { rondo } = await applied();
    const until = '2099-01-01T00:00:00Z';

    expect(await rondo('schedules', 'pause', 'a', '--note', 'import', '--until', until)).toBe(
      `a is paused until ${until}\n`,
    );
    const { pause } = await rondo.json('schedules', 'pause', 'b', '--by', 'the night shift', '--until', '90m');
    expect(pause).toMatchObject({ by: 'the night shift', note: '' });
    expect(Math.abs(Date.parse(pause.until) - Date.now() - 90 * 60_000)).toBeLessThan(10_000);

    const shown = await rondo('schedules', 'show', 'a');
    expect(shown).toMatch(/^health +paused$/m);
    expect(shown).toMatch(new RegExp(`^paused +by \\S+@\\S+, until ${until}, since \\S+$`, 'm'));
    expect(shown).toMatch(/^note +import$/m);
    expect(await rondo.json('schedules', 'list')).toMatchObject([
      { id: 'a', health: 'paused', pause: { note: 'import', until } },
      { id: 'b', health: 'paused', pause: { by: 'the night shift' } },
      { id: 'c', health: 'sound', pause: null },
    ]);
    expect(await rondo('schedules', 'resume', 'a')).toBe('a goes on\n');
    expect(await rondo('schedules', 'resume', 'a')).toBe('a was not paused\n');
    expect(await rondo.json('schedules', 'resume', 'b')).toEqual({ id: 'b', resumed: true });
    expect(await rondo.json('schedules', 'resume', 'b')).toEqual({ id: 'b', resumed: false });
  });

  it('are all paused at once; a pause that somebody made for longer keeps its note', async () => {
    const { rondo } = await applied();
    await rondo('schedules', 'pause', 'a', '--note', 'for good');
    await rondo('schedules', 'pause', 'b', '--note', 'for a moment', '--until', '1m');
    const until = '2099-01-01T00:00:00Z';

    expect(await rondo('pause', '--all', '--note', 'outage', '--until', until)).toBe(
      `2 of 3 schedules are paused until ${until}; paused for as long already: 1\n`,
    );

    const views = await rondo.json('schedules', 'list');
    expect(views.map(({ pause }: { pause: { note: string } }) => pause.note)).toEqual(['for good', 'outage', 'outage']);
    expect(await rondo.json('pause', '--all')).toMatchObject({ total: 3, changed: 2, left: 1, pause: { until: null } });
    expect(await rondo.json('resume', '--all')).toEqual({ total: 3, changed: 3, left: 0 });
    expect(await rondo('resume', '--all')).toBe('0 of 3 schedules go on; 3 were not paused\n');
  });

  it('are triggered, which is a run and no tick', async () => {
    const { rondo } = await applied();

    const { job, run } = await rondo.json('schedules', 'trigger', 'a');

    expect(job).toBe('tidy');
    expect(await rondo.json('runs', 'show', job, run)).toMatchObject({
      ...{ state: 'waiting', origin: 'triggered', schedule: 'a', tick: null, payload: { n: 1 } },
    });
    expect(await rondo('runs', 'show', job, run)).toMatch(/^came +triggered for a$/m);
    expect(await rondo('schedules', 'trigger', 'b')).toMatch(/^tidy trigger:b:\w+ is enqueued\n$/);
    await rondo('jobs', 'enqueue', 'tidy');
    const came = rowsOf(await rondo('runs', 'list', '--state', 'waiting')).map((row) => row[3]);
    expect(came.sort()).toEqual(['CAME', 'ad-hoc', 'triggered for a', 'triggered for b']);
    expect(await rondo.json('schedules', 'show', 'a')).toMatchObject({ runs: 0, ticks: [] });
    const scheduled = await rondo.json('runs', 'list', '--state', 'delayed');
    expect(scheduled[0]).toMatchObject({ origin: 'scheduled', schedule: expect.stringMatching(/^[abc]$/) });
  });

  it('are removed where no code declares them, and refused where it does', async () => {
    const { rondo, broker } = await applied();

    const { code, stderr } = await rondo.attempt('schedules', 'remove', 'a');
    expect(stderr).toBe(
      'rondo: The schedule is declared in code: change it there: a by code:ours [schedule-declared]\n',
    );
    expect(code).toBe(1);

    await updateEntry(broker, 'a', (entry) => entry && { ...entry, owner: 'api' });
    expect(await rondo.json('schedules', 'remove', 'a')).toEqual({ id: 'a', removed: true, stillRuns: [] });
    const views = await rondo.json('schedules', 'list');
    expect(views.map(({ id }: { id: string }) => id)).toEqual(['b', 'c']);
  });

  async function applied() {
    const { broker, prefix } = await fixture([]);
    const schedules = ['a', 'b', 'c'].map((id) => `{ id: '${id}', cron: '@yearly', payload: { n: 1 } }`).join();
    const module = writeJobs(
      `export default [defineJob({ name: 'tidy', payload: z.any(), schedules: [${schedules}], run: () => null })];`,
    );
    const rondo = commands({ RONDO_JOBS: module, RONDO_PREFIX: prefix, RONDO_APP: 'ours' });
    await rondo('schedules', 'apply');
    return { rondo, broker };
  }
});
