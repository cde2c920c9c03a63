import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { commands, refused, shopJobs } from '../support/commands.js';
import { fixture } from '../support/harness.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';

describe('jobs', () => {
  it('are listed and shown without a Redis', async () => {
    const rondo = commands({ RONDO_JOBS: writeJobs(shopJobs), REDIS_URL: refused });

    const [list, listed, page, shown] = await Promise.all([
      rondo('jobs', 'list'),
      rondo.json('jobs', 'list'),
      rondo('jobs', 'show', 'send-receipt'),
      rondo.json('jobs', 'show', 'send-receipt'),
    ]);

    const [heading, ...rows] = list.split('\n');
    expect(heading).toMatch(/^JOB +IS +RUNS/);
    expect(rows[0]).toMatch(/^send-receipt +on +- +5 +2m +4 +Mails a receipt$/);
    expect(rows[1]).toMatch(/^close-day +on +At 07:00 \(Europe\/Paris\); At 02:30 \(Europe\/Paris\)/);
    expect(rows[2]).toMatch(/^retired +off/);
    expect(listed).toMatchObject([
      { name: 'send-receipt', attempts: 4, timeoutMs: 120_000, schedules: [], enabled: true },
      { name: 'close-day', schedules: ['close-day-paris', 'close-day-gap'] },
      { name: 'retired', enabled: false },
    ]);
    expect(page).toMatch(/attempts +4, fixed from 3s/);
    expect(page).toContain('It has no schedules.');
    expect(shown).toMatchObject({
      retry: { attempts: 4, backoff: 'fixed', delay: 3_000 },
      payloadSchema: { properties: { order: { type: 'integer' } }, required: ['order', 'lines'] },
    });
  });

  it('are the catalog where there is no module', async () => {
    const listed = await commands({ REDIS_URL: '' }).json('jobs', 'list');

    expect(listed).toEqual(expect.arrayContaining([expect.objectContaining({ name: 'heartbeat', enabled: true })]));
  });

  it('suggest the nearest name for one that does not exist', async () => {
    const rondo = commands({ RONDO_JOBS: writeJobs(shopJobs) });

    for (const args of [
      ['jobs', 'show'],
      ['jobs', 'enqueue'],
      ['runs', 'list', '--job'],
      ['worker', '--jobs'],
    ]) {
      const { code, stdout, stderr } = await rondo.attempt(...args, 'send-reciept');
      expect(stderr).toBe('rondo: There is no such job: "send-reciept" (did you mean "send-receipt"?) [job-unknown]\n');
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    }
  });
});

describe('runs', () => {
  const payload = '{"order":7,"lines":[]}';

  it('are enqueued now, later, or at a time, and then listed and shown', async () => {
    const { rondo } = await shop();

    const text = await rondo('jobs', 'enqueue', 'send-receipt', '--payload', payload);
    const { job, id } = await rondo.json('jobs', 'enqueue', 'send-receipt', '--payload', payload, '--priority', '3');
    const late = await rondo.json('jobs', 'enqueue', 'send-receipt', '--payload', payload, '--delay', '1h');
    const at = new Date(Date.now() + 86_400_000).toISOString();
    const dated = await rondo.json('jobs', 'enqueue', 'send-receipt', '--payload', payload, '--at', at);

    expect(text).toMatch(/^send-receipt \d+ is enqueued\n$/);
    expect(job).toBe('send-receipt');
    const shown = await rondo.json('runs', 'show', 'send-receipt', id);
    expect(shown).toMatchObject({ id, state: 'waiting', attempts: 0, maxAttempts: 4, payload: { order: 7 }, log: [] });
    expect(await rondo('runs', 'show', 'send-receipt', id)).toMatch(/payload +\{"order":7,"lines":\[\]\}/);
    const delayed = await rondo.json('runs', 'list', '--job', 'send-receipt', '--state', 'delayed');
    expect(delayed.map((run: { id: string }) => run.id).sort()).toEqual([late.id, dated.id].sort());
    const due = delayed.find((run: { id: string }) => run.id === dated.id).dueAt;
    expect(Math.abs(Date.parse(due) - Date.parse(at))).toBeLessThan(5_000); // told to BullMQ as a delay
    expect(await rondo.json('runs', 'list')).toHaveLength(4);
    expect(await rondo.json('runs', 'list', '--limit', '3')).toHaveLength(3);
    const [heading, ...rows] = (await rondo('runs', 'list', '--state', 'waiting')).trimEnd().split('\n');
    expect(heading).toMatch(/^JOB +RUN +STATE/);
    expect(rows).toHaveLength(2);
  });

  it('say that there are none', async () => {
    const { rondo } = await shop();

    expect(await rondo('runs', 'list')).toBe('There are no such runs.\n');
    expect(await rondo.json('runs', 'list', '--state', 'failed')).toEqual([]);
  });

  it('are refused with everything that their payload gets wrong: path, expectation, and what came', async () => {
    const { rondo } = await shop();
    const wrong = '{"order":-1,"lines":[{"price":2},{"price":"free"}]}';

    const { code, stdout, stderr } = await rondo.attempt('jobs', 'enqueue', 'send-receipt', '--payload', wrong);

    expect(stderr.split('\n')).toEqual([
      "rondo: The payload does not fit the job's schema: send-receipt",
      '  payload.order: expected more than 0; got -1',
      '  payload.lines[1].price: expected a number; got "free" [payload-invalid]',
      '',
    ]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(await rondo.json('runs', 'list')).toEqual([]);
  });

  it('are not read from what is no file, and that is wrong usage', async () => {
    const { rondo } = await shop();
    const socket = join(freshFolder(), 'socket');
    const server = createServer().listen(socket);
    await once(server, 'listening');
    onTestFinished(() => void server.close());

    const { code, stderr } = await rondo.attempt('jobs', 'enqueue', 'send-receipt', '--file', socket);

    expect(stderr).toMatch(/^rondo: .*--file \S+socket: ENXIO.* \[usage-wrong\]\n$/);
    expect(code).toBe(2);
  });

  it('are not taken by a disabled job', async () => {
    const { rondo } = await shop();

    const { code, stderr } = await rondo.attempt('jobs', 'enqueue', 'retired');

    expect(stderr).toContain('The job is disabled: retired');
    expect(code).toBe(1);
  });

  it('that do not exist are a failure', async () => {
    const { rondo } = await shop();

    const { code, stdout, stderr } = await rondo.attempt('runs', 'show', 'send-receipt', 'r-404', '--json');

    expect(stderr).toBe('rondo: There is no such run: send-receipt r-404 [run-unknown]\n');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  });

  async function shop() {
    const { prefix } = await fixture([]);
    return { rondo: commands({ RONDO_JOBS: writeJobs(shopJobs), RONDO_PREFIX: prefix }) };
  }
});
