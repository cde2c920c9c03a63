import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { freshPrefix } from '../support/harness.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { runProgram, runShell } from '../support/processes.js';

const jobs = `export default [
  defineJob({ name: 'report', payload: z.object({ tenant: z.string() }), run: () => null }),
  defineJob({ name: 'tidy', schedules: [{ id: 'tidy-all', every: '1h' }], run: () => null }),
];`;

function prepare() {
  const folder = freshFolder();
  return { folder, env: { RONDO_PREFIX: freshPrefix(), RONDO_JOBS: writeJobs(jobs, { folder }) } };
}

describe('rondo schedules put', () => {
  it('creates, changes and leaves alone, by options or as JSON, and list and show tell of it', async () => {
    const { env } = prepare();
    const options = `--job report --payload '{"tenant":"a"}' --timezone Europe/Paris --spread 10m --misfire run-all`;
    const more = `--grace 5000 --max-catch-up 7 --starts-at 2037-01-01 --ends-at 2038-01-01T00:00:00Z --trigger-on-start`;
    const { code, stdout, stderr } = await runShell(
      `$rondo schedules put report-a ${options} ${more} --cron '0 7 * * *' --description 'For a' --by ada
       $rondo schedules put report-a ${options} ${more} --cron '0 7 * * *' --description 'For a'
       $rondo schedules put report-a --spec '{"job":"report","cron":"@daily","payload":{"tenant":"b"}}' --cron '0 8 * * *' --disabled --json --by bob
       $rondo schedules show report-a
       $rondo schedules put tidy-all --job tidy --every 1h`,
      { env },
    );
    const [created, unchanged, ...rest] = stdout.split('\n');
    expect(created).toMatch(/^report-a is created: At 07:00 \(Europe\/Paris\), next 2037-01-01T06:/);
    expect(unchanged).toMatch(/^report-a is unchanged: At 07:00 \(Europe\/Paris\), next 2037-01-01T06:/);
    const [json = '', shown = ''] = rest.join('\n').split(/^(?=schedule )/m);
    expect(JSON.parse(json)).toMatchObject({
      result: 'changed',
      schedule: {
        enabled: false,
        health: 'disabled',
        payload: { tenant: 'b' },
        description: '',
        timing: { kind: 'cron', cron: '0 8 * * *', timezone: 'UTC' },
        policy: { misfire: 'run-once', grace: 60_000, maxCatchUp: 100 },
        put: { by: 'bob' },
      },
    });
    expect(shown).toMatch(/^health +disabled$/m);
    expect(shown).toMatch(/^owner +api, put by bob at 20/m);
    expect(stderr).toBe(
      'rondo: The schedule is declared in code: change it there: tidy-all, in the job tidy [schedule-declared]\n',
    );
    expect(code).toBe(1);
  });

  it('takes every option that a definition has', async () => {
    const { env } = prepare();
    const args = '--job report --every 90000 --grace 5000 --max-catch-up 7 --misfire run-all --trigger-on-start --json';
    const ends = ['--payload', '{"tenant":"a"}', '--starts-at', '2037-01-01', '--ends-at', '2038-01-01T00:00:00Z'];
    const { stdout, stderr } = await runProgram(['schedules', 'put', 'report-a', ...args.split(' '), ...ends], { env });
    expect(stderr).toBe('');
    const [startsAt, endsAt] = [Date.UTC(2037, 0), Date.UTC(2038, 0)];
    expect(JSON.parse(stdout)).toMatchObject({
      result: 'created',
      schedule: {
        timing: { kind: 'every', every: 90_000, startsAt, endsAt },
        policy: { misfire: 'run-all', grace: 5_000, maxCatchUp: 7 },
        triggerOnStart: true,
      },
    });
  });

  it('puts many from a file or from another command, and says which could not be', async () => {
    const { env, folder } = prepare();
    const list = ['a', 'b', 'c'].map((tenant) => ({
      id: `report-${tenant}`,
      job: 'report',
      at: '2040-01-01',
      payload: { tenant },
    }));
    const file = join(folder, 'list.json');
    writeFileSync(file, JSON.stringify([...list, { id: 'report-d', job: 'report', at: 'noon', payload: {} }]));
    const { code, stdout } = await runShell(
      `$rondo schedules put --file '${file}'
       echo '${JSON.stringify(list)}' | $rondo schedules put --file - --json`,
      { env },
    );
    const [said = '', json = ''] = stdout.split(/^(?=\{)/m);
    expect(said).toMatch(
      /^3 created, 0 changed, 0 unchanged, 1 failed\n\nSCHEDULE +WHY\nreport-d +The schedule is wrong +at: expected/,
    );
    expect(said).toContain('payload.tenant: expected a string; got nothing');
    expect(JSON.parse(json)).toEqual({ created: 0, changed: 0, unchanged: 3, failed: 0, failures: [] });
    expect(code).toBe(0);
  });

  it.each([
    { args: ['put'], says: 'takes an id, or --file' },
    { args: ['put', 'x', '--file', 'y'], says: 'it takes none beside it' },
    { args: ['put', '--file', '/nowhere'], says: '--file /nowhere: ENOENT' },
    { args: ['put', 'x', '--spec', '[]'], says: '--spec is a JSON object' },
  ])('exits with 2 for $args', async ({ args, says }) => {
    const { code, stdout, stderr } = await runProgram(['schedules', ...args]);
    expect(stderr).toContain(says);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});
