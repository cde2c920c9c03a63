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
  for (const name of ['import', 'z', 'define-job', 'run-job', 'await']) {
    expect((await rondo('new', 'job', name, '--folder', 'odd')).code).toBe(0);
  }
  expect(readFileSync(join(cwd, 'odd', 'index.mjs'), 'utf8')).toContain("import { importJob } from './import.mjs';");
  const odd = ['import', 'z', 'define-job', 'run-job', 'await'].flatMap((name) => [`${name}.mjs`, `${name}.test.mjs`]);
  for (const file of odd) {
    const { stderr } = spawnSync(process.execPath, ['--check', join(cwd, 'odd', file)], { encoding: 'utf8' });
    expect(stderr, file).toBe('');
  }

  writeFileSync(join(cwd, 'tsconfig.json'), '{}');
  await rondo('new', 'job', 'typed');
  expect(readFileSync(join(cwd, 'jobs', 'typed.test.ts'), 'utf8')).toContain("from './typed.js'");
});
