import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { eventually } from '../support/harness.js';
import { runProgram, startProgram } from '../support/processes.js';

const entry = fileURLToPath(new URL('../../scripts/demo.mjs', import.meta.url));
/** With no server of anybody's. */
const env = { REDIS_URL: '' };

test('`npm run demo` has each job of the catalog succeed, on nothing but what is installed with it', async () => {
  const demo = startProgram(['--once'], { entry, env });

  expect({ ...(await demo.exit), stderr: demo.stderr() }).toEqual({ code: 0, signal: null, stderr: '' });
  expect(linesIn(demo.stdout())).toEqual([
    ['ok', 'heartbeat', { latenessMs: null }],
    ['ok', 'ping', 'xxxx'],
    ['ok', 'http-request', expect.objectContaining({ status: 200, body: 'taken' })],
    ['ok', 'send-email', expect.objectContaining({ accepted: ['ann@example.com'], rejected: [] })],
    ['ok', 'process-data transform', expect.objectContaining({ rowsRead: 8, rowsWritten: 4 })],
    ['ok', 'process-data aggregate', expect.objectContaining({ rowsRead: 8, rowsWritten: 4 })],
    ['ok', 'process-data import', expect.objectContaining({ rowsRead: 8, rowsWritten: 7, rowsRejected: 1 })],
    ['ok', 'process-data export', expect.objectContaining({ rowsRead: 3, file: 'out/above.csv.gz' })],
    ['ok', 'monthly-credit-top-up', expect.objectContaining({ users: 200, credits: 59_480 })],
    ['ok', 'stale-purchase-cleanup', expect.objectContaining({ deleted: 49 })],
    ['ok', 'sync-tokens', { unchanged: false, pages: 3, new: 10, known: 0, invalid: 0 }],
    ['ok', 'sync-tokens once more', { unchanged: true, pages: 0, new: 0, known: 0, invalid: 0 }],
    ['ok', 'sweep-retention', expect.objectContaining({ left: false })],
    ['ok', 'memory-report', expect.anything()],
  ]);
  expect(demo.stdout()).toContain('a mail to ann@example.com came: Greetings from the demo');
});

test('it goes on after its tour, at the address that it prints, until a Ctrl-C ends all of it', async () => {
  const demo = startProgram([], { entry, env });
  await eventually(() => demo.stdout().includes('schedules list'), 60_000);
  const [, url = '', key = ''] = /RONDO_URL=(\S+) RONDO_API_KEY=(\S+)/.exec(demo.stdout()) ?? [];
  const { stdout } = await runProgram(['schedules', 'list'], { env: { RONDO_URL: url, RONDO_API_KEY: key } });
  expect(stdout).toContain('monthly-credit-top-up');

  demo.kill('SIGINT');

  expect(await demo.exit).toEqual({ code: 0, signal: null });
  await expect(fetch(`${url}/livez`)).rejects.toThrow();
});

/** What the lines about runs say, result and all. */
function linesIn(text: string) {
  const runs = text.matchAll(/^(ok|FAIL) {2,}(\S.*?) {2,}(.*)$/gm);
  return [...runs].map(([, state, title, result = '']) => [state, title, JSON.parse(result)]);
}
