import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { freshFolder } from '../support/jobs-module.js';
import { runProgram } from '../support/processes.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

it('`rondo new job` writes a job that is listed, and a test that passes, and overwrites nothing', async () => {
  const cwd = freshFolder();
  mkdirSync(join(cwd, 'node_modules'));
  for (const name of ['vitest', 'zod']) symlinkSync(join(root, 'node_modules', name), join(cwd, 'node_modules', name));
  symlinkSync(root, join(cwd, 'node_modules', 'rondo'));
  const rondo = (...args: string[]) =>
    runProgram(args, { cwd, env: { RONDO_JOBS: './jobs/index.mjs', REDIS_URL: '' } });

  expect(await rondo('new', 'job', 'send-invoice')).toMatchObject({ code: 0, stderr: '' });
  expect(readdirSync(join(cwd, 'jobs'))).toEqual(['index.mjs', 'send-invoice.mjs', 'send-invoice.test.mjs']);
  expect((await rondo('jobs', 'list')).stdout).toContain('send-invoice  on  At 09:00');
  const vitest = spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'run'], { cwd, encoding: 'utf8' });
  expect(vitest.stdout + vitest.stderr).toMatch(/Tests .*2 passed/);

  const again = await rondo('new', 'job', 'send-invoice');
  expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining('exists already') });
  const second = await rondo('new', 'job', '2nd-try');
  expect(second.stdout).toContain("Add it to jobs/index.mjs: import { job2ndTry } from './2nd-try.mjs';");
  expect((await rondo('new', 'job', 'No Name')).stderr).toContain('got "No Name"');

  writeFileSync(join(cwd, 'tsconfig.json'), '{}');
  await rondo('new', 'job', 'typed');
  expect(readFileSync(join(cwd, 'jobs', 'typed.test.ts'), 'utf8')).toContain("from './typed.js'");
});
