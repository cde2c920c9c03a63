import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { commands, shopJobs, stackTrace } from '../support/commands.js';
import { freshPrefix } from '../support/harness.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { runProgram } from '../support/processes.js';

describe('a jobs module', () => {
  it('from a folder without packages of its own imports rondo and zod', async () => {
    const listed = await commands({ RONDO_JOBS: writeJobs(shopJobs) }).json('jobs', 'list');

    expect(listed.map((job: { name: string }) => job.name)).toEqual(['send-receipt', 'close-day', 'retired']);
  });

  it('may be named relative to the folder that the program is started in', async () => {
    const folder = freshFolder();
    writeJobs(shopJobs, { folder });

    const { code, stdout } = await runProgram(['jobs', 'list'], { cwd: folder, env: { RONDO_JOBS: './jobs.mjs' } });

    expect(stdout).toContain('send-receipt');
    expect(code).toBe(0);
  });

  it.each<{ case: string; source: string | null; says: RegExp }>([
    { case: 'is missing', source: null, says: /jobs\.mjs does not exist/ },
    { case: 'throws', source: `throw new Error('no database');`, says: /failed to load: no database/ },
    { case: 'throws what is no error', source: `throw 'nothing';`, says: /failed to load: nothing/ },
    { case: 'is no JavaScript', source: 'export default [', says: /failed to load: Unexpected end of input/ },
    {
      case: 'imports what is missing',
      source: `import './tools.mjs'; export default [];`,
      says: /failed to load: Cannot find module '.*tools\.mjs'/,
    },
    { case: 'exports nothing', source: '', says: /expected a list of jobs as the default export; got nothing/ },
    {
      case: 'exports a single job',
      source: `export default defineJob({ name: 'lonely', run: () => null });`,
      says: /expected a list of jobs as the default export; got/,
    },
    {
      case: 'lists a stranger',
      source: `export default [defineJob({ name: 'ours', run: () => null }), { name: 'theirs', run() {} }];`,
      says: /default\[1\]: expected a job made with defineJob; got \{"name":"theirs"\}/,
    },
  ])('that $case is one clear error, in a command and in a role', async ({ source, says }) => {
    const folder = freshFolder();
    if (source !== null) writeJobs(source, { folder });
    const env = { RONDO_JOBS: join(folder, 'jobs.mjs') };

    const outcomes = await Promise.all([
      runProgram(['jobs', 'list'], { env }),
      runProgram(['worker'], { env: { ...env, RONDO_PREFIX: freshPrefix() } }),
    ]);

    for (const { code, stdout, stderr } of outcomes) {
      expect(stderr).toMatch(says);
      expect(stderr).toMatch(/^rondo: The jobs module cannot be used: RONDO_JOBS: .*jobs\.mjs.*\[jobs-module\]\n$/s);
      expect(stderr).not.toMatch(stackTrace);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    }
  });

  it('with wrong definitions is refused with all that is wrong in all of them', async () => {
    const RONDO_JOBS = writeJobs(`
      export default [
        defineJob({ name: 'Wrong Name', run: () => null }),
        defineJob({ name: 'hasty', timeout: '0s', concurency: 3, run: () => null }),
        defineJob({ name: 'odd', schedules: [{ id: 'odd', cron: '0 0 30 2 *' }, { id: 'far', cron: '@daily', timezone: 'Europe/Pariss' }], run: () => null }),
        defineJob({ name: 'twin', payload: z.object({ region: z.string() }), schedules: [{ id: 'odd', every: 1.5 }], run: () => null }),
        defineJob({ name: 'twin' }),
      ];`);

    const { code, stdout, stderr } = await runProgram(['start'], { env: { RONDO_JOBS, REDIS_URL: '' } });

    for (const line of [
      /^ {2}Wrong Name: name: expected a name of .*; got "Wrong Name"/m,
      /^ {2}hasty: timeout: expected a duration .*; got "0s"/m,
      /^ {2}hasty: concurency: expected no such option \(did you mean "concurrency"\?\); got 3/m,
      /^ {2}odd: schedules\[0\]\.cron: expected a cron that fires at some time; got "0 0 30 2 \*"/m,
      /^ {2}odd: schedules\[1\]\.timezone: expected an IANA time zone .*; got "Europe\/Pariss"/m,
      /^ {2}twin: schedules\[0\]\.every: expected a duration .*; got 1\.5/m,
      /^ {2}twin: schedules\[0\]\.payload\.region: expected a string; got nothing/m,
      /^ {2}twin: run: expected a function; got nothing/m,
      /^ {2}twin: name: expected a name of its own among all jobs; got "twin" again/m,
    ]) {
      expect(stderr).toMatch(line);
    }
    expect(stderr).toMatch(/^rondo: The job definitions are wrong\n/);
    expect(stderr).not.toMatch(stackTrace);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  });
});
