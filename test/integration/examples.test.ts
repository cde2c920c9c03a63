import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import jobs from '../../examples/orders/jobs.js';
import { createOrders } from '../../examples/orders/service.js';
import { fixture } from '../support/harness.js';
import { secretOf } from '../support/http.js';

const run = promisify(execFile);
const page = readFileSync(new URL('../../docs/client.md', import.meta.url), 'utf8');
const codeIn = (language: string) => new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(page)?.[1] ?? '';
const isThere = (program: string) => run(program, ['--version']).then(Boolean, () => false);

async function start() {
  const { work, serve } = await fixture(jobs);
  await work();
  const api = await serve();
  return { api, env: { ...process.env, RONDO_URL: api.url, RONDO_API_KEY: secretOf('admin') } };
}

test('the example service has a receipt mailed for each order, once', async () => {
  const { api } = await start();
  const service = createOrders({ url: api.url, key: secretOf('admin') }).listen(0, '127.0.0.1');
  onTestFinished(() => void service.close());
  await once(service, 'listening');
  const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}`;
  const order = (email: string, number = 'A-17') =>
    fetch(`${url}/orders`, { method: 'POST', body: JSON.stringify({ order: number, email }) });
  const [first, again] = [await order('ada@example.com'), await order('ada@example.com')];
  expect([first.status, again.status]).toEqual([202, 202]);
  const { receipt } = (await first.json()) as { receipt: string };
  expect(await again.json()).toEqual({ receipt });
  expect(await (await fetch(url + receipt)).json()).toEqual({ mailed: 1 });
  const refused = await order('nobody', 'A-18');
  expect(refused.status).toBe(422);
  expect(await refused.json()).toMatchObject({ error: 'payload-invalid', problems: [{ where: 'payload.to' }] });
});

test('the page about clients has lines for curl that enqueue a run and wait for it', async (context) => {
  if (!(await isThere('curl'))) return context.skip('SKIPPED: no curl is installed here');
  const { env } = await start();
  const { stdout } = await run('sh', ['-c', codeIn('sh')], { env, timeout: 45_000 });
  expect(JSON.parse(stdout)).toMatchObject({ job: 'send-receipt', state: 'completed', result: { mailed: 1 } });
});

test('and a program in Python that does', async (context) => {
  if (!(await isThere('python3'))) return context.skip('SKIPPED: no python3 is installed here');
  const { env } = await start();
  const { stdout } = await run('python3', ['-c', codeIn('python')], { env, timeout: 45_000 });
  expect(JSON.parse(stdout)).toMatchObject({ job: 'send-receipt', state: 'completed', result: { mailed: 1 } });
});
