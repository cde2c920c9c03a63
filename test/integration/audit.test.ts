import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, inject, it } from 'vitest';
import { z } from 'zod';
import { ledgerKeys } from '../../src/broker/ledger-format.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { type AuditEntry, type AuditView, audit, auditKept, readAudit } from '../../src/producers/audit.js';
import { wantedOf } from '../../src/producers/plan.js';
import { reconcile } from '../../src/producers/schedules.js';
import { shownRequest } from '../../src/producers/subjects.js';
import { fixture } from '../support/harness.js';
import { type Api, expectProblem, secretOf } from '../support/http.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { runWarm } from '../support/processes.js';

const mail = defineJob({
  name: 'mail',
  payload: z.object({ to: z.string(), token: z.string() }),
  secret: ['token'],
  schedules: [{ id: 'mailing', cron: '0 7 * * *', payload: { to: 'all', token: 'hunter2-hunter2' } }],
  run: () => null,
});
const payload = { to: 'ada', token: 'hunter2-hunter2' };

async function serveMail() {
  const parts = await fixture([mail]);
  const wanted = wantedOf(createRegistry([mail]));
  await reconcile(parts.broker, { app: 'test', release: '1', wanted, now: Date.now }, () => {});
  const api = await parts.serve();
  const log = async (query = ''): Promise<AuditView[]> => (await api.call('GET', `/v1/audit${query}`)).body.entries;
  const enqueue = async (json: object = {}) =>
    (await api.call('POST', '/v1/jobs/mail/runs', { json: { payload, ...json } })).body.id as string;
  return { ...parts, api, log, enqueue };
}

const entry = (more: Partial<AuditEntry> = {}): AuditEntry => ({
  ...{ who: 'ops', via: 'api', from: '192.0.2.1', action: 'POST /v1/x', target: null, status: 200 },
  ...{ before: null, after: null, request: null },
  ...more,
});

describe('the audit log', () => {
  it('has every change of a schedule: who, what, from where, before and after, without secrets', async () => {
    const { api, log } = await serveMail();
    const put = (cron: string) => api.call('PUT', '/v1/schedules/own', { json: { job: 'mail', cron, payload } });
    await put('0 7 * * *');
    await put('0 8 * * *');
    await api.call('POST', '/v1/schedules/own/pause', { key: 'operate', json: { note: 'why not' } });
    await api.call('POST', '/v1/schedules/own/resume', { key: 'operate' });
    await api.call('POST', '/v1/schedules/own/trigger', { key: 'operate' });
    await api.call('DELETE', '/v1/schedules/own');

    const entries = (await log()).toReversed();

    const path = '/v1/schedules/own';
    expect(entries.map(({ who, action }) => `${who}: ${action}`)).toEqual([
      `admin: PUT ${path}`,
      `admin: PUT ${path}`,
      `operate: POST ${path}/pause`,
      `operate: POST ${path}/resume`,
      `operate: POST ${path}/trigger`,
      `admin: DELETE ${path}`,
    ]);
    for (const it of entries) expect(it).toMatchObject({ via: 'api', from: '127.0.0.1', target: 'schedule own' });
    const [created, changed, paused, resumed, triggered, removed] = entries;
    const shown = { to: 'ada', token: '[secret]' };
    expect(created).toMatchObject({ status: 201, before: null, after: { job: 'mail', payload: shown, owner: 'api' } });
    expect(created).toMatchObject({ request: { cron: '0 7 * * *', payload: shown } });
    expect(changed).toMatchObject({
      before: { timing: { cron: '0 7 * * *' } },
      after: { timing: { cron: '0 8 * * *' } },
    });
    expect(Object.keys(Object(changed?.after))).toEqual(['timing']);
    expect(paused).toMatchObject({ before: { pause: null }, after: { pause: { by: 'operate', note: 'why not' } } });
    expect(resumed).toMatchObject({ before: { pause: { note: 'why not' } }, after: { pause: null } });
    expect(triggered).toMatchObject({ status: 202, before: {}, after: {} });
    expect(removed).toMatchObject({ status: 204, before: { job: 'mail' }, after: null });
    expect(JSON.stringify(entries)).not.toContain('hunter2');
  });

  it('has cancels and redrives, and no single enqueue', async () => {
    const { api, log, enqueue } = await serveMail();
    const id = await enqueue();
    await api.call('POST', `/v1/jobs/mail/runs/${id}/cancel`);
    await api.call('POST', '/v1/jobs/mail/redrive', { json: { limit: 5 } });
    expect(await log()).toMatchObject([
      { action: 'POST /v1/jobs/mail/redrive', target: 'job mail', request: { limit: 5 } },
      {
        action: `POST /v1/jobs/mail/runs/${id}/cancel`,
        target: `run mail ${id}`,
        status: 202,
        before: { state: 'waiting', payload: { to: 'ada', token: '[secret]' } },
        after: null,
      },
    ]);
  });

  it('takes an address in other letters for what it is', async () => {
    const { api, log, enqueue } = await serveMail();
    const json = { runs: [{ payload }] };
    expect((await api.call('POST', '/v1/jobs/mail/runs/Bulk', { json })).status).toBe(202);
    expect((await api.call('POST', '/v1/JOBS/mail/Runs', { json: { payload } })).status).toBe(202);
    const dry = { from: '2026-11-01', to: '2026-11-02', dryRun: true };
    expect((await api.call('POST', '/v1/Schedules/mailing/Backfill', { json: dry })).status).toBe(200);
    expect(await log()).toEqual([]);
    const id = await enqueue();
    await api.call('POST', `/v1/Jobs/mail/Runs/${id}/Cancel`);
    await api.call('POST', '/v1/Schedules/mailing/pause', { json: {} });
    await api.call('PUT', '/board/api/Queues/mail/pause');
    expect((await log()).map(({ target }) => target)).toEqual(['job mail', 'schedule mailing', `run mail ${id}`]);
  });

  it('hides the secrets of each payload of a bulk, should it ever come there', () => {
    const registry = createRegistry([mail]);
    const body = { runs: [{ payload, delay: '1h' }, payload.token], dryRun: false };
    const shown = { payload: { to: 'ada', token: '[secret]' }, delay: '1h' };
    expect(shownRequest(registry, 'mail', body)).toEqual({ runs: [shown, '[secret]'], dryRun: false });
    expect(shownRequest(registry, null, body)).toMatchObject({ runs: [{ payload: '[secret]' }, '[secret]'] });
    expect(shownRequest(registry, 'mail', { runs: payload })).toEqual({ runs: '[secret]' });
  });

  it('has nothing of what was refused, and nothing of what was only tried', async () => {
    const { api, log } = await serveMail();
    await api.call('POST', '/v1/schedules/mailing/pause', { key: 'read', json: {} });
    await api.call('POST', '/v1/schedules/nothing/pause', { json: {} });
    await api.call('PUT', '/v1/schedules/own', { json: { job: 'mail', cron: 'never' } });
    await api.call('POST', '/v1/jobs/mail/runs/17/cancel');
    const json = { from: '2026-11-01', to: '2026-11-02', dryRun: true };
    expect((await api.call('POST', '/v1/schedules/mailing/backfill', { json })).status).toBe(200);
    expect(await log()).toEqual([]);
  });

  it('has what is done on the board, what is edited there with before and after', async () => {
    const { api, log, enqueue } = await serveMail();
    const id = await enqueue({ delay: '1h' });
    const board = '/board/api/queues';
    const jobData = { to: 'bob', token: 'hunter2-hunter3' };
    await api.call('PATCH', `${board}/mail/${id}/update-data`, { key: 'operate', json: { jobData } });
    await api.call('PUT', `${board}/mail/${id}/promote`, { key: 'operate' });
    await api.call('PUT', `${board}/mail/pause`, { key: 'operate' });
    await api.call('POST', `${board}/mail/add`, { json: { name: 'mail', data: payload, options: {}, dryRun: true } });
    await api.call('PUT', `${board}/mail/obliterate`, { key: 'operate', json: {} });
    const [added, paused, promoted, edited, ...more] = await log();
    expect(more).toEqual([]);
    expect(edited).toMatchObject({ via: 'board', who: 'operate', target: `run mail ${id}` });
    expect(edited?.before).toEqual({ payload: { to: 'ada', token: '[secret]' } });
    expect(edited?.after).toEqual({ payload: { to: 'bob', token: '[secret]' } });
    expect(edited?.request).toEqual({ jobData: { to: 'bob', token: '[secret]' } });
    expect(promoted).toMatchObject({ before: { state: 'delayed' }, after: { state: 'waiting' } });
    expect(paused).toMatchObject({ target: 'job mail', before: { paused: false }, after: { paused: true } });
    expect(added).toMatchObject({ who: 'admin', request: { data: { to: 'ada', token: '[secret]' } } });
    expect(JSON.stringify(await log())).not.toContain('hunter');
  });

  it('has who signed in and out, and from where somebody could not', async () => {
    const { api, log } = await serveMail();
    const cookie = String((await signIn(api, secretOf('read'))).headers.get('set-cookie')?.split(';')[0]);
    await signIn(api, 'wrong-secret-wrong');
    await api.call('GET', '/v1/jobs', { key: 'wrong' });
    await api.call('POST', '/logout', { key: null, headers: { cookie } });
    const entries = (await log()).toReversed();
    expect(entries.map(({ who, action, via, from }) => [who, action, via, from])).toEqual([
      ['read', 'sign-in', 'sign-in', '127.0.0.1'],
      [null, 'sign-in refused (form)', 'sign-in', '127.0.0.1'],
      [null, 'sign-in refused (authorization)', 'sign-in', '127.0.0.1'],
      ['read', 'sign-out', 'sign-in', '127.0.0.1'],
    ]);
    expect(JSON.stringify(entries)).not.toContain('secret-wrong');
  });

  it('is for admins, by pages, times and names', async () => {
    const { api, broker, log } = await serveMail();
    const who = (index: number) => (index % 3 === 0 ? null : index % 3 === 1 ? 'ops' : 'shop');
    for (let index = 0; index < 12; index++) await audit(broker, entry({ who: who(index), action: `change ${index}` }));
    const all = await log();
    // Those of one moment may stand either way round.
    expect(all.map(({ action }) => action).toSorted()).toEqual(
      Array.from({ length: 12 }, (_, index) => `change ${index}`).toSorted(),
    );
    expect(all.map(({ at }) => at)).toEqual(
      all
        .map(({ at }) => at)
        .toSorted()
        .toReversed(),
    );

    const paged: AuditView[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const { body } = await api.call('GET', `/v1/audit?limit=5${cursor && `&cursor=${cursor}`}`);
      paged.push(...body.entries);
      cursor = body.next;
    }
    expect(paged).toEqual(all);
    expect((await log('?who=shop')).map(({ action }) => action)).toEqual([11, 8, 5, 2].map((at) => `change ${at}`));
    const { at } = all[4] as AuditView;
    expect((await log(`?from=${at}`)).at(-1)?.at).toBe(at);
    expect((await log(`?to=${at}`))[0]?.at).toBe(at);
    expect(await log('?to=2020-01-01T00:00:00Z')).toEqual([]);
    for (const key of ['read', 'operate', 'enqueue']) {
      expectProblem(await api.call('GET', '/v1/audit', { key }), 403, 'forbidden');
    }
    const reversed = 'from=2026-11-21T07:00:00Z&to=2026-11-20T07:00:00Z';
    for (const query of ['limit=0', 'limit=1001', 'cursor=x', 'from=yesterday', 'whom=ops', reversed]) {
      expectProblem(await api.call('GET', `/v1/audit?${query}`), 422, 'request-invalid');
    }
  });

  it('skips no entry where a page ends between two of one moment, of a change and of a refusal', async () => {
    const { broker } = await fixture([mail]);
    const { changes, refusals } = broker.keys.audit;
    for (const id of ['5-0', '6-0', '7-0']) {
      await broker.client.xadd(changes, id, 'entry', JSON.stringify(entry({ action: `change ${id}` })));
      await broker.client.xadd(refusals, id, 'entry', JSON.stringify(entry({ who: null, action: `refusal ${id}` })));
    }
    const seen: string[] = [];
    let page = await readAudit(broker, { limit: 1 });
    for (;;) {
      seen.push(...page.entries.map(({ action }) => action));
      if (!page.next) break;
      page = await readAudit(broker, { limit: 1, cursor: page.next });
    }
    expect(seen).toEqual(['7-0', '6-0', '5-0'].flatMap((id) => [`change ${id}`, `refusal ${id}`]));
  });

  it('keeps ten thousand changes, which no stranger’s wrong keys push out, and no body at length', async () => {
    const { broker } = await fixture([mail]);
    await audit(broker, entry({ action: 'oldest' }));
    const pipeline = broker.client.pipeline();
    const { changes, refusals } = broker.keys.audit;
    for (let index = 0; index < auditKept; index++) pipeline.xadd(refusals, '*', 'entry', '{}');
    for (let index = 0; index < auditKept - 1; index++) pipeline.xadd(changes, '*', 'entry', '{}');
    await pipeline.exec();
    await audit(broker, entry({ who: null }));
    expect(await broker.client.xlen(refusals)).toBe(auditKept);
    expect(await broker.client.xlen(changes)).toBe(auditKept);
    await audit(broker, entry({ action: 'newest', request: { note: 'x'.repeat(1_000_000) } }));
    expect(await broker.client.xlen(changes)).toBe(auditKept);
    const rows = await broker.client.xrange(changes, '-', '+', 'COUNT', 1);
    expect(JSON.stringify(rows)).not.toContain('oldest');
    const { entries } = await readAudit(broker, { limit: 1 });
    expect(JSON.stringify(entries).length).toBeLessThan(10_000);
    expect(entries[0]).toMatchObject({ action: 'newest', request: { characters: expect.any(Number) } });
  });

  it('that cannot be written undoes no change: that is told', async () => {
    const { api, broker, events } = await serveMail();
    await broker.client.set(broker.keys.audit.changes, 'no stream');
    const answer = await api.call('POST', '/v1/schedules/mailing/pause', { json: { note: 'all the same' } });
    expect(answer.status).toBe(200);
    expect(answer.body.pause.note).toBe('all the same');
    const told = await events.next('audit.failed');
    expect(told).toMatchObject({ who: 'admin', from: '127.0.0.1', target: 'schedule mailing' });
    expect(told.action).toBe('POST /v1/schedules/mailing/pause');
    expect(String(told.error)).toContain('WRONGTYPE');
  });

  it('has what commands change, with the user and host that gave them', async () => {
    const { prefix, log, enqueue } = await serveMail();
    const RONDO_JOBS = writeJobs(`export default [defineJob({ name: 'mail', secret: ['token'],
      payload: z.object({ to: z.string(), token: z.string() }), run: () => null })];`);
    const env = { REDIS_URL: inject('redisUrl'), RONDO_PREFIX: prefix, RONDO_JOBS };
    const id = await enqueue({ delay: '1h' });
    const run = async (...args: string[]) => expect((await runWarm(args, { env })).stderr).toBe('');
    await run('runs', 'cancel', 'mail', id);
    await run('schedules', 'pause', 'mailing', '--by', 'somebody else');
    const range = ['--from', '2026-11-01', '--to', '2026-11-02', '--json'];
    await run('schedules', 'backfill', 'mailing', '--dry-run', ...range);
    await run('resume', '--all');
    const [resumed, paused, cancelled, ...more] = await log();
    await run('jobs', 'pause', 'mail', '--note', 'stock');
    await run('jobs', 'resume', 'mail');
    const file = join(freshFolder(), 'runs.ndjson');
    writeFileSync(file, JSON.stringify(payload));
    await run('jobs', 'enqueue', 'mail', '--file', file);
    expect((await log('?limit=3')).map(({ action, target, via }) => [via, action, target])).toEqual([
      ['cli', 'jobs enqueue --file', null],
      ['cli', 'jobs resume', 'job mail'],
      ['cli', 'jobs pause', 'job mail'],
    ]);
    expect(more).toEqual([]);
    for (const it of [resumed, paused, cancelled]) {
      expect(it).toMatchObject({ via: 'cli', from: 'cli', who: expect.stringMatching(/^.+@.+$/) });
    }
    expect(cancelled).toMatchObject({ action: 'runs cancel', target: `run mail ${id}`, before: { state: 'delayed' } });
    expect(paused).toMatchObject({ action: 'schedules pause', after: { pause: { by: 'somebody else' } } });
    expect(resumed).toMatchObject({ action: 'resume --all', target: null });
    const { stdout } = await runWarm(['audit', '--limit', '5'], { env });
    expect(stdout).toMatch(/resume --all.*\n.*schedules pause +schedule mailing/);
  });

  it('has a command that fails half-way, with why, and none that is refused', async () => {
    const { prefix, log, broker } = await serveMail();
    const RONDO_JOBS = writeJobs(`const payload = z.object({ to: z.string(), token: z.string().min(9) });
      export default ['mail', 'post'].map((name) => defineJob({ name, secret: ['token'], payload, run: () => null }));`);
    const env = { REDIS_URL: inject('redisUrl'), RONDO_PREFIX: prefix, RONDO_JOBS };
    const fails = async (...args: string[]) => expect((await runWarm(args, { env })).code).toBe(1);
    const file = join(freshFolder(), 'runs.ndjson');
    const enqueue = async (good: number) => {
      writeFileSync(file, [...Array(good).fill(JSON.stringify(payload)), '{"to":"bob","token":"hunter2"}'].join('\n'));
      await fails('jobs', 'enqueue', 'mail', '--file', file);
    };
    await fails('runs', 'cancel', 'mail', '17');
    await fails('schedules', 'pause', 'nothing');
    await enqueue(3);
    expect(await log()).toEqual([]);

    await enqueue(1_000);
    const post = ['--job', 'post', '--at', '2098-01-01', '--payload', '{"to":"a","token":"bbbbbbbbb"}'];
    expect((await runWarm(['schedules', 'put', 'own', ...post], { env })).stderr).toBe('');
    await broker.client.set(ledgerKeys(broker, { job: 'post', schedule: 'own' }).cursor, 'by hand');
    await fails('pause', '--all');
    const [paused, , enqueued, ...more] = await log();
    expect(more).toEqual([]);
    expect(enqueued).toMatchObject({ action: 'jobs enqueue --file', request: { job: 'mail', file }, before: null });
    expect(enqueued?.after).toEqual({ failed: expect.stringMatching(/before it 1000 runs are \[request-invalid\]$/) });
    expect(paused).toMatchObject({ action: 'pause --all', after: { failed: expect.stringContaining('WRONGTYPE') } });
    expect(JSON.stringify(await log())).not.toContain('hunter2');
  });
});

function signIn(api: Api, key: string) {
  const body = new URLSearchParams({ key }).toString();
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  return api.call('POST', '/login', { key: null, headers, body });
}

it('answers for times before 1970, of which it has nothing', async () => {
  const { api } = await serveMail();
  await api.call('POST', '/v1/schedules/mailing/pause', { key: 'operate', json: {} });
  expect((await api.call('GET', '/v1/audit?from=1969-01-01T00:00:00Z')).body.entries).toHaveLength(1);
  expect((await api.call('GET', '/v1/audit?to=1969-01-01T00:00:00Z')).body.entries).toEqual([]);
});
