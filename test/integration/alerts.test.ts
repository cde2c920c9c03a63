import { describe, expect, it } from 'vitest';
import { ledgerKeys } from '../../src/broker/ledger-format.js';
import { caughtUpId } from '../../src/broker/repeat.js';
import { packEntry, type TickOutcome } from '../../src/broker/tick-entry.js';
import { type AlertSettings, alertJob, alertJobName } from '../../src/jobs/catalog/alert.js';
import { defineJob, type JobDefinition } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { readTails } from '../../src/producers/alert-facts.js';
import type { AlertChannel } from '../../src/producers/alert-outbox.js';
import { type AlertInput, createAlertWatch } from '../../src/producers/alerts.js';
import { retryRun } from '../../src/producers/redrive.js';
import { enqueue } from '../../src/producers/runs.js';
import { eventually, type Fixture, fixture } from '../support/harness.js';
import { type Received, startTarget } from '../support/http.js';
import { reply, startMailServer } from '../support/mail-server.js';

const minute = 60_000;

interface Body {
  readonly id: string;
  readonly event: string;
  readonly alerts: readonly { rule: string; job: string; schedule: string | null; text: string }[];
}

const bodiesOf = (received: readonly Received[]) => received.map(({ body }) => JSON.parse(body) as Body);

/** What was told, in the order in which it came. */
const toldTo = (received: readonly Received[]) =>
  bodiesOf(received).flatMap(({ event, alerts }) =>
    alerts.map(({ rule, job, schedule }) => `${event} ${rule} ${schedule ?? job}`),
  );

/** The job that sends, quick to try again. */
function senderTo(settings: Partial<AlertSettings>): JobDefinition {
  const sender = alertJob({ webhook: null, email: null, ...settings }) as unknown as JobDefinition;
  return { ...sender, retry: { ...sender.retry, delay: 50 } };
}

/** A producer's look at what there is, as often as it is asked for. */
function watchOf({ broker, events }: Fixture, jobs: readonly JobDefinition[], more: Partial<AlertInput> = {}) {
  const input = { registry: createRegistry(jobs), app: 'test', release: '1', now: Date.now, ...more };
  return createAlertWatch({ broker, channels: ['webhook'] as AlertChannel[], emit: events.emit, ...input });
}

/** A job whose runs fail as long as they are told to. */
function moody(alerts: NonNullable<Parameters<typeof defineJob>[0]['alerts']> = { cooldown: 0 }) {
  const mood = { fails: true };
  const run = () => {
    if (mood.fails) throw new Error('no disk');
  };
  const schedules = [{ id: 'moody-tick', every: '1s' as const }];
  const job = defineJob({ name: 'moody', schedules, retry: { attempts: 1 }, alerts, run });
  return { job: job as unknown as JobDefinition, mood };
}

describe('an alert of a schedule', () => {
  it('comes to the webhook once when it starts and once when it ends, with a producer that dies in between', async () => {
    const target = await startTarget((_, response) => void response.end());
    const { job, mood } = moody();
    const jobs = [job, senderTo({ webhook: { url: target.url, format: 'json' } })];
    const f = await fixture(jobs);
    await f.produce();
    await f.work();
    await f.events.next('run.failed', ({ job: name }) => name === 'moody');
    await eventually(async () => (await ledgerOf(f)).includes('failed'));

    // Each dies right after what it has noted: one before anything is sent, one before it knows that it is.
    const dying = (at: string) => ({
      onStep: (step: string) => {
        if (step === at) throw new Error('killed');
      },
    });
    await expect(watchOf(f, jobs, dying('noted')).look()).rejects.toThrow('killed');
    expect(target.received).toEqual([]);
    await expect(watchOf(f, jobs, dying('added')).look()).rejects.toThrow('killed');
    const watch = watchOf(f, jobs);
    await watch.look();
    await eventually(() => target.received.length > 0);
    expect(toldTo(target.received)).toEqual(['alert.started failed moody-tick']);
    expect(bodiesOf(target.received)[0]?.alerts[0]?.text).toMatch(/^the tick of 20\S+Z failed: no disk$/);
    expect(target.received[0]?.headers['idempotency-key']).toBe(bodiesOf(target.received)[0]?.id);

    mood.fails = false;
    await f.events.next('run.succeeded', ({ job: name }) => name === 'moody');
    await eventually(async () => (await ledgerOf(f)).at(-1) === 'succeeded');
    await watch.look();
    await eventually(() => target.received.length > 1);
    await watchOf(f, jobs).look();
    await watch.look();
    expect(toldTo(target.received)).toEqual(['alert.started failed moody-tick', 'alert.ended failed moody-tick']);
    expect(await f.broker.queue(alertJobName).getJobCounts('completed', 'wait', 'delayed')).toMatchObject({
      completed: 2,
      wait: 0,
      delayed: 0,
    });
    expect(f.events.of('alert.started')).toHaveLength(0); // both who decided it died before they could say so
    expect(f.events.of('alert.ended')).toMatchObject([{ rule: 'failed', job: 'moody', schedule: 'moody-tick' }]);
  });

  it('is over when its failed run is retried and succeeds, though its cursor stands', async () => {
    const at = new Date(Date.now() + 1_000).toISOString();
    const mood = { fails: true };
    const run = () => {
      if (mood.fails) throw new Error('no disk');
    };
    const schedules = [{ id: 'once', at }];
    const once = defineJob({ name: 'once', schedules, retry: { attempts: 1 }, alerts: { cooldown: 0 }, run });
    const job = once as unknown as JobDefinition;
    const jobs = [job, senderTo({})];
    const f = await fixture(jobs);
    await f.produce();
    await f.work({ jobs: [job] });
    const { run: id } = await f.events.next('run.failed');
    const outcomeIs = (wanted: string) => eventually(async () => (await ledgerOf(f, 'once', 'once')).at(-1) === wanted);
    await outcomeIs('failed');
    const watch = watchOf(f, jobs);
    await watch.look();
    expect(f.events.of('alert.started')).toMatchObject([{ rule: 'failed', schedule: 'once' }]);

    await watch.look();
    mood.fails = false;
    await retryRun(f.broker, job, id);
    await outcomeIs('succeeded');
    await watch.look();
    expect(f.events.of('alert.ended')).toMatchObject([{ rule: 'failed', schedule: 'once' }]);
  });

  it('is over when code disables the schedule', async () => {
    const { job } = moody();
    const jobs = [job, senderTo({})];
    const f = await fixture(jobs);
    const producer = await f.produce();
    await f.work({ jobs: [job] });
    await eventually(async () => (await ledgerOf(f)).includes('failed'));
    await watchOf(f, jobs).look();
    expect(f.events.of('alert.started')).toMatchObject([{ rule: 'failed', schedule: 'moody-tick' }]);

    await producer.stop(Date.now() + 1_000);
    const disabled = { ...job, schedules: job.schedules.map((it) => ({ ...it, enabled: false })) };
    await f.produce({ jobs: [disabled, senderTo({})] });
    await watchOf(f, [disabled, senderTo({})]).look();
    expect(f.events.of('alert.ended')).toMatchObject([{ rule: 'failed', schedule: 'moody-tick' }]);
  });

  it('is of runs that have ended, however many ticks after them are open', async () => {
    const { broker } = await fixture([]);
    const { ticks } = ledgerKeys(broker, { job: 'moody', schedule: 'moody-tick' });
    const write = async (first: number, count: number, outcome: TickOutcome) => {
      for (let time = first; time < first + count; time++) {
        const entry = { time, due: time, claimed: time, outcome, run: caughtUpId('moody-tick', time), attempts: 1 };
        await broker.client.zadd(ticks, String(time), packEntry('moody-tick', entry));
      }
    };
    const read = async () => (await readTails(broker, 'moody', ['moody-tick', 'none'])).get('moody-tick');
    const counts = async () => {
      const outcomes = (await read())?.map(({ outcome }) => outcome) ?? [];
      return [...new Set(outcomes)].map((word) => `${word} ${outcomes.filter((outcome) => outcome === word).length}`);
    };
    await write(1_000, 30, 'failed');
    expect(await counts()).toEqual(['failed 20']);
    await write(2_000, 50, 'running');
    expect(await counts()).toEqual(['failed 20', 'running 50']);
    expect((await read())?.map(({ time }) => time)).toEqual([...range(1_010, 20), ...range(2_000, 50)]);
    await write(3_000, 150, 'waiting');
    expect(await counts()).toEqual(['running 50', 'waiting 150']);
  });

  it('is of one that is broken for longer than the producer takes to mend it', async () => {
    const { job } = moody();
    const jobs = [job, senderTo({})];
    const f = await fixture(jobs);
    let now = Date.now();
    const watch = watchOf(f, jobs, { now: () => now });
    await watch.look();
    now += minute;
    await watch.look();
    expect(f.events.of('alert.started')).toMatchObject([
      { rule: 'broken', schedule: 'moody-tick', reason: 'it is not in Redis' },
    ]);

    // Another producer takes over: it neither ends it, nor tells it anew.
    await watchOf(f, jobs, { now: () => now }).look();
    expect(f.events.of('alert.ended')).toEqual([]);
    await f.produce();
    await watch.look();
    expect(f.events.of('alert.ended')).toMatchObject([{ rule: 'broken', schedule: 'moody-tick' }]);
  });

  it('is not told where nobody is to hear of it, or its job says false', async () => {
    const { job } = moody(false);
    const jobs = [job, senderTo({})];
    const f = await fixture(jobs);
    let now = Date.now();
    const watches = [watchOf(f, jobs, { now: () => now }), watchOf(f, jobs, { now: () => now, channels: [] })];
    for (const watch of watches) await watch.look();
    now += 60 * minute;
    for (const watch of watches) await watch.look();
    expect(await f.broker.client.hkeys(f.broker.keys.alerts.states)).toEqual(['looked test']);
  });
});

describe('an alert of a job', () => {
  it('is of runs that wait, of no worker, and of a run that failed; and over when all is well', async () => {
    const mood = { fails: true };
    const run = () => {
      if (mood.fails) throw new Error('no disk');
    };
    const alerts = { cooldown: 0, queueAge: '5m', noWorker: '1m', failures: 2 } as const;
    const job = defineJob({ name: 'adhoc', retry: { attempts: 1 }, alerts, run }) as unknown as JobDefinition;
    const jobs = [job, senderTo({})];
    const f = await fixture(jobs);
    let now = Date.now();
    const watch = watchOf(f, jobs, { now: () => now });
    const started = () => f.events.of('alert.started').map(({ rule }) => rule);
    const ended = () => f.events.of('alert.ended').map(({ rule }) => rule);
    await enqueue(f.broker, job, {}, { priority: 5 });
    await enqueue(f.broker, job, {}, { delay: 30 * minute });
    await watch.look();
    expect(started()).toEqual([]);
    now += 6 * minute;
    await f.broker.queue('adhoc').pause();
    await watch.look();
    expect(started()).toEqual(['noWorker']); // what somebody has paused waits because of that
    await f.broker.queue('adhoc').resume();
    await watch.look();
    expect(started()).toEqual(['noWorker', 'queueAge']);

    // Its mark comes and goes twice a second.
    const pool = await f.work({ jobs: [job], stalledCheckMs: 500 });
    await f.events.next('run.failed');
    await eventually(async () => {
      await watch.look();
      return ended().length === 2;
    });
    expect(ended().sort()).toEqual(['noWorker', 'queueAge']);
    expect(started().at(-1)).toBe('failed');
    await enqueue(f.broker, job, {});
    await eventually(() => f.events.of('run.failed').length === 2);
    await watch.look();
    expect(started().at(-1)).toBe('failures');
    mood.fails = false;
    await enqueue(f.broker, job, {});
    await f.events.next('run.succeeded');
    await watch.look();
    expect(ended().slice(2).sort()).toEqual(['failed', 'failures']);
    await pool.stop(Date.now());
    await eventually(async () => (await f.broker.client.exists(f.broker.queue('adhoc').toKey('stalled-check'))) === 0);

    // The delayed one is due, and only a worker would let it go on.
    now += 40 * minute;
    await watch.look();
    expect(started().slice(-2).sort()).toEqual(['noWorker', 'queueAge']);
  });
});

describe('sending an alert', () => {
  it('is tried again where the webhook answers 500, and holds to the cool-down', async () => {
    let answers = 0;
    const target = await startTarget((_, response) => {
      response.statusCode = answers++ === 0 ? 500 : 200;
      response.end();
    });
    const { job } = moody({ cooldown: '30m', noWorker: false, queueAge: false });
    const jobs = [job, senderTo({ webhook: { url: `${target.url}/secret-path`, format: 'slack' } })];
    const f = await fixture(jobs);
    let now = Date.now();
    const watch = watchOf(f, jobs, { now: () => now });
    await watch.look();
    now += minute;
    await watch.look();
    await f.work({ jobs: jobs.slice(1) });
    await f.events.next('run.succeeded', ({ job: name }) => name === alertJobName);
    expect(target.received.map(({ url }) => url)).toEqual(['/secret-path', '/secret-path']);
    expect(JSON.parse(String(target.received[1]?.body))).toEqual({
      text: ':red_circle: *moody-tick (moody) is broken*: it is not in Redis',
    });
    const [failure] = f.events.of('run.failed');
    expect(failure?.reason).toBe(`the webhook at ${new URL(target.url).host} answered 500`);
    expect(JSON.stringify(f.events.all)).not.toContain('secret-path');

    const producer = await f.produce();
    await watch.look();
    expect(f.events.of('alert.ended')).toHaveLength(1);
    await producer.stop(Date.now());
    await f.broker.client.hdel(f.broker.keys.schedules, 'moody-tick');
    await watch.look();
    now += minute;
    await watch.look();
    expect(f.events.of('alert.started')).toHaveLength(1);
    now += 30 * minute;
    await watch.look();
    expect(f.events.of('alert.started')).toHaveLength(2);
  });

  it('comes by mail as well, under an id of its own', async () => {
    const { url, mails } = await startMailServer();
    const email = { smtpUrl: url, from: 'Rondo <rondo@example.com>', to: ['ops@example.com'] };
    const { job } = moody();
    const jobs = [job, senderTo({ email })];
    const f = await fixture(jobs);
    let now = Date.now();
    const watch = watchOf(f, jobs, { now: () => now, channels: ['email'] });
    await watch.look();
    now += minute;
    await watch.look();
    await f.work({ jobs: jobs.slice(1) });
    await f.events.next('run.succeeded', ({ job: name }) => name === alertJobName);
    expect(mails).toHaveLength(1);
    expect(mails[0]?.text).toContain('Subject: [test] moody-tick (moody) is broken');
    expect(mails[0]?.text).toContain('From: Rondo <rondo@example.com>');
    expect(mails[0]?.text).toContain('To: ops@example.com');
    expect(mails[0]?.text).toContain('it is not in Redis');
    expect(mails[0]?.text).toMatch(/^Message-ID: <[0-9a-f-]{36}@test\.rondo>/im);
  });

  it('comes to each recipient once, also to one whom the mail server defers', async () => {
    const seen = new Set<string>();
    const { url, mails } = await startMailServer({
      onRcptTo({ address }, _, done) {
        const isNew = !seen.has(address);
        seen.add(address);
        if (address.startsWith('gone')) return done(reply(550, 'no such user'));
        done(address.startsWith('busy') && isNew ? reply(450, 'later') : null);
      },
    });
    const to = ['ops@example.com', 'busy@Example.com', 'gone@example.com'];
    const sender = senderTo({ email: { smtpUrl: url, from: 'Rondo <rondo@example.com>', to } });
    const f = await fixture([sender]);
    await f.work();
    const message = { id: '7', event: 'alert.started', app: 'test', at: '2026-11-21T07:00:00Z', alerts: [], more: 0 };
    await enqueue(f.broker, sender, { ...message, channel: 'email' });
    await f.events.next('run.succeeded');
    expect(mails.map((mail) => mail.to)).toEqual([['ops@example.com'], ['busy@example.com']]);
    expect(mails.every(({ text }) => text.includes('Message-ID: <7@test.rondo>'))).toBe(true);
    expect(f.events.of('run.failed')).toMatchObject([{ reason: expect.stringContaining('busy@example.com (450') }]);
  });

  it('is tried again where the mail server takes it for nobody', async () => {
    let isGone = true;
    const { url, mails } = await startMailServer({
      onRcptTo: (_address, _session, done) => done(isGone ? reply(550, 'no such user') : null),
    });
    const sender = senderTo({ email: { smtpUrl: url, from: 'rondo@example.com', to: ['ops@example.com'] } });
    const f = await fixture([sender]);
    await f.work();
    const message = { id: '7', event: 'alert.started', app: 'test', at: '2026-11-21T07:00:00Z', alerts: [], more: 0 };
    await enqueue(f.broker, sender, { ...message, channel: 'email' });
    expect((await f.events.next('run.failed')).retryInMs).not.toBeNull();
    isGone = false;
    await f.events.next('run.succeeded');
    expect(mails).toHaveLength(1);
  });

  it('fails with what is missing where the worker that has it knows no channel', async () => {
    const sender = senderTo({});
    const f = await fixture([{ ...sender, retry: { ...sender.retry, attempts: 1 } }]);
    await f.work();
    const message = { id: '1', event: 'alert.started', app: 'test', at: '2026-11-21T07:00:00Z', alerts: [], more: 0 };
    await enqueue(f.broker, sender, { ...message, channel: 'email' }, { attempts: 1 });
    const { reason } = await f.events.next('run.failed');
    expect(reason).toBe('RONDO_ALERT_EMAIL is not set for this worker: workers and producers want the same channels');
  });
});

const range = (first: number, count: number) => Array.from({ length: count }, (_, index) => first + index);

async function ledgerOf({ broker }: Fixture, job = 'moody', schedule = 'moody-tick'): Promise<string[]> {
  const { readTicks } = await import('../../src/broker/ledger.js');
  const { entries } = await readTicks(broker, { job, schedule });
  return entries.map(({ outcome }) => outcome).filter((outcome) => outcome !== 'running');
}
