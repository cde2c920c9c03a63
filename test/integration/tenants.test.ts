import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it, vi } from 'vitest';
import { eventually, freshPrefix } from '../support/harness.js';
import { callsTo, secretOf } from '../support/http.js';
import { freshFolder } from '../support/jobs-module.js';
import { startProgram } from '../support/processes.js';

const page = readFileSync(new URL('../../docs/schedules-at-run-time.md', import.meta.url), 'utf8');

it('the example of the docs puts, changes and removes a schedule for each tenant, whose runs are the job’s', async () => {
  const folder = freshFolder();
  for (const [, file = '', code = ''] of page.matchAll(/```js (\S+)\n(.*?)```/gs))
    writeFileSync(join(folder, file), code);
  const env = {
    RONDO_PREFIX: freshPrefix(),
    RONDO_JOBS: join(folder, 'jobs.mjs'),
    RONDO_API_KEYS: `admin:${secretOf('admin')}:admin,sign-up:${secretOf('sign-up')}:operate`,
  };
  const program = startProgram(['start'], { env });
  const { msg = '' } = await program.line(({ msg }) => /the board is at/.test(msg ?? ''));
  const url = /http:\S+(?=\/board)/.exec(msg)?.[0] ?? '';
  const api = callsTo(url);
  vi.stubEnv('RONDO_URL', url);
  vi.stubEnv('RONDO_KEY', secretOf('sign-up'));
  const { scheduleOf, putReport, removeReport } = await import(
    /* @vite-ignore */ pathToFileURL(join(folder, 'tenants.mjs')).href
  );
  const listed = async () => (await api.call('GET', '/v1/schedules?owner=api')).body.schedules;

  await putReport('Acme & Söhne');
  await putReport('globex', { cron: '* * * * * *' });
  await putReport('globex', { cron: '* * * * * *' });
  expect(await listed()).toHaveLength(2);
  expect((await api.call('GET', `/v1/schedules/${scheduleOf('Acme & Söhne')}`)).body).toMatchObject({
    health: 'sound',
    put: { by: 'sign-up' },
    payload: { tenant: 'Acme & Söhne' },
    timing: { cron: '0 7 * * *', spread: 1_800_000 },
  });

  // Its spread may put a first run half an hour off, so a run out of turn shows that the job takes its payload.
  const { body } = await api.call('POST', `/v1/schedules/${scheduleOf('globex')}/trigger`);
  const run = await eventually(async () => {
    const { body: found } = await api.call('GET', body.url);
    return found.state === 'completed' && found;
  });
  expect(run).toMatchObject({ result: { sent: 'globex' } });

  await putReport('globex', { enabled: false });
  expect((await api.call('GET', `/v1/schedules/${scheduleOf('globex')}`)).body).toMatchObject({ health: 'disabled' });
  await removeReport('globex');
  await removeReport('globex');
  await removeReport('Acme & Söhne');
  expect(await listed()).toEqual([]);
  vi.unstubAllEnvs();
});
