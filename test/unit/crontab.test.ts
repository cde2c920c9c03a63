import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { translateCrontab } from '../../src/cli/crontab.js';
import { commands } from '../support/commands.js';
import { freshFolder } from '../support/jobs-module.js';

const crontab = `# backups
PATH=/usr/bin:/bin
30 2 * * 1-5  /usr/local/bin/backup.sh --full > /dev/null 2>&1
@hourly  FOO=1 /opt/tidy up
*/5 * * * * cat%hello%world
CRON_TZ="Europe/Paris"
0 9 1 * mon /opt/tidy "50\\%"
`;
const options = { timezone: 'UTC', system: false };

describe('a crontab', () => {
  it('is a job for each line: its times in its zone, its command, its environment, its input', () => {
    const { jobs, marks, source } = translateCrontab(crontab, options);

    expect(marks).toEqual([]);
    expect(jobs).toEqual([
      { name: 'backup', cron: '30 2 * * 1-5', command: '/usr/local/bin/backup.sh --full > /dev/null 2>&1' },
      { name: 'tidy', cron: '@hourly', command: 'FOO=1 /opt/tidy up' },
      { name: 'cat', cron: '*/5 * * * *', command: 'cat' },
      { name: 'tidy-2', cron: '0 9 1 * mon', command: '/opt/tidy "50%"' },
    ]);
    expect(source).toContain('{ input: "hello\\nworld", env: {"PATH":"/usr/bin:/bin"} }');
    expect(source).toMatch(/cron: "0 9 1 \* mon", timezone: "Europe\/Paris"/);
  });

  it.each([
    ['@reboot /opt/start', 'Rondo knows no reboot'],
    ['0 25 * * * late', 'got "0 25 * * *"'],
    ['0 3 * *', 'expected 5 fields and a command'],
    ['MAILTO=ops@example.com', 'alerts go by mail'],
  ])('has a mark where a line means nothing to Rondo: %s', (line, why) => {
    const { jobs, marks, source } = translateCrontab(`\n${line}\n`, options);

    expect(jobs).toEqual([]);
    expect(marks).toEqual([{ line: 2, text: line, why: expect.stringContaining(why), translated: false }]);
    expect(source).toContain(`// NOT TRANSLATED: line 2: ${line}\n`);
  });

  it('of a system names users, which is said', () => {
    const { jobs, marks } = translateCrontab('17 * * * * root run-parts /etc/cron.hourly', {
      ...options,
      system: true,
    });

    expect(jobs).toEqual([{ name: 'run-parts', cron: '17 * * * *', command: 'run-parts /etc/cron.hourly' }]);
    expect(marks).toMatchObject([{ translated: true, why: expect.stringContaining('runs as root') }]);
  });
});

describe('rondo import crontab', () => {
  it('writes a module whose jobs are listed and run, and overwrites none', async () => {
    const folder = freshFolder();
    const [from, out] = [join(folder, 'crontab'), join(folder, 'jobs.mjs')];
    writeFileSync(from, `GREETING=hello\nHOME=${folder}\n0 3 * * * echo $GREETING; cat; pwd%you\n0 4 * * * false\n`);
    const rondo = commands({ RONDO_JOBS: out });

    expect(await rondo('import', 'crontab', from, '--out', out, '--timezone', 'UTC')).toContain(
      `2 jobs in ${out}; try it: RONDO_JOBS=${out} rondo jobs list`,
    );
    expect(await rondo.json('jobs', 'list')).toMatchObject([{ name: 'echo' }, { name: 'false' }]);
    const again = await rondo.attempt('import', 'crontab', from, '--out', out);
    expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining('exists already') });

    const { echo, nothing } = JSON.parse(ran(readFileSync(out, 'utf8')));
    // What comes without an end of its line may come in two pieces.
    expect(echo.join(''), 'in the home folder').toBe(`helloyou${folder}`);
    expect(nothing).toBe('it ended with 1');
  });

  it('says where it finds no crontab', async () => {
    const missing = await commands({}).attempt('import', 'crontab', '/nowhere/crontab');
    expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining('the crontab cannot be read') });
  });
});

/** Runs both handlers of the module above; `rondo` is what they need of it. */
function ran(source: string): string {
  const program = `${source.replace(/import .* from 'rondo';/, 'const defineJob = (job) => job;').replace('export default', 'const jobs =')}
    const lines = [];
    const log = { info: (text) => lines.push(...text.split('\\n')), warn: () => {} };
    const signal = new AbortController().signal;
    await jobs[0].run({ log, signal });
    const nothing = await jobs[1].run({ log, signal }).catch((error) => error.message);
    console.log(JSON.stringify({ echo: lines, nothing }));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
  });
  return stdout || stderr;
}
