import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Problem } from '../../src/errors.js';
import { defineJob, type ScheduleOptions } from '../../src/jobs/define-job.js';
import { fixture, freshPrefix } from '../support/harness.js';
import { type Api, expectProblem } from '../support/http.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { runWarm } from '../support/processes.js';

type Fields = Record<string, unknown>;

const payload = z.object({ region: z.enum(['eu', 'us']) });
const report = defineJob({ name: 'report', payload, run: () => null });
const good = { cron: '0 7 * * *', payload: { region: 'eu' } };

/** A wrong value for each field that a schedule has: a new field is missed here by the compiler. `next` is code only. */
const wrong: Record<Exclude<keyof ScheduleOptions<unknown>, 'next'>, Fields> = {
  id: { id: 'Bad Id' },
  description: { description: 7 },
  cron: { cron: '61 * * * *' },
  every: { cron: undefined, every: 'soon' },
  at: { cron: undefined, at: '2026-11-21T07:00:00' },
  timezone: { timezone: 'Europe/Pariss' },
  startsAt: { startsAt: 'noon' },
  endsAt: { startsAt: '2027-01-02', endsAt: '2027-01-01' },
  spread: { spread: '-5m' },
  misfire: { misfire: 'run-twice' },
  grace: { grace: '1y' },
  maxCatchUp: { maxCatchUp: 0 },
  overlap: { overlap: 'sometimes' },
  lateAfter: { lateAfter: 0 },
  dst: { dst: 'never' },
  exclude: { exclude: [{ dates: ['2026-02-30'] }] },
  except: { exclude: [{ dates: ['2026-12-24'] }], except: ['24.12.'] },
  onExcluded: { exclude: [{ dates: ['2026-12-24'] }], onExcluded: 'shift' },
  payload: { payload: { region: 'mars', more: 1 } },
  alerts: { alerts: { failed: 'yes', failures: 1, slow: 1, cooldown: 'soon', queueAge: '5m' } },
  healthcheck: { healthcheck: 'ftp://hc-ping.com/secret' },
  enabled: { enabled: 'no' },
  triggerOnStart: { triggerOnStart: 1 },
};

const cases: readonly (readonly [what: string, fields: Fields])[] = [
  ...Object.entries(wrong),
  ['a misspelt field', { timezon: 'UTC' }],
  ['a field from elsewhere', { retry: { attempts: 3 } }],
  ['no kind', { cron: undefined }],
  ['two kinds', { every: '5m' }],
  ['a cron that never fires', { cron: '0 0 30 2 *' }],
  ['a zone beside an interval', { cron: undefined, every: '5m', timezone: 'Europe/Paris' }],
  ['an offset for a zone', { timezone: '+02:00' }],
  ['a fraction', { cron: undefined, every: 1.5 }],
  ['a payload that is missing', { payload: undefined }],
  ['several at once', { cron: 'x', misfire: 'y', grace: 'z', payload: { region: 3 } }],
];

/** As JSON carries them: what is undefined is not there. */
const bodies = cases.map(
  ([_, fields], index): Fields => JSON.parse(JSON.stringify({ id: `tenant-${index}`, ...good, ...fields })),
);

describe('a wrong field of a schedule', () => {
  it('has the same message in code, over HTTP and on the command line', async () => {
    const byCode = bodies.map(problemsInCode);
    expect(byCode.filter((problems) => problems.length === 0)).toEqual([]);

    const { serve, broker } = await fixture([report]);
    const api = await serve();
    const answers = await Promise.all(bodies.map((body) => put(api, body)));
    expect(named(answers.map(({ body }) => body.problems))).toEqual(named(byCode));
    for (const answer of answers) expectProblem(answer, 422, 'schedule-invalid');
    expect(await broker.client.hlen(broker.keys.schedules)).toBe(0);

    const { env, folder } = prepare();
    const file = join(folder, 'schedules.json');
    writeFileSync(file, JSON.stringify(bodies.map((body) => ({ job: 'report', ...body }))));
    const { code, stdout } = await runWarm(['schedules', 'put', '--file', file, '--json'], { env });
    const { failures, ...counts } = JSON.parse(stdout);
    expect({ code, ...counts }).toEqual({ code: 1, created: 0, changed: 0, unchanged: 0, failed: cases.length });
    expect(named(failures.map(({ error }: { error: string }) => error))).toEqual(named(byCode.map(text)));
  });

  it('has it too where it is an option of the command line, and is told with all others', async () => {
    const flags = {
      cron: '61 * * * *',
      timezone: 'Europe/Pariss',
      startsAt: 'noon',
      endsAt: 'later',
      spread: 'long',
      misfire: 'run-twice',
      grace: 'soon',
      maxCatchUp: 'few',
      payload: { region: 'mars' },
    };
    const args = Object.entries(flags).flatMap(([name, value]) => [
      `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
      typeof value === 'string' ? value : JSON.stringify(value),
    ]);

    const { code, stdout, stderr } = await runWarm(['schedules', 'put', 'x', '--job', 'report', ...args], prepare());

    const problems = problemsInCode({ id: 'x', ...flags });
    expect(problems).toHaveLength(Object.keys(flags).length);
    expect(stderr).toBe(`rondo: ${text(problems)} [schedule-invalid]\n`);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  });

  it('is next, which is code only, whatever was sent as one', async () => {
    const { serve } = await fixture([report]);
    const api = await serve();
    const expected = 'cron, every or at, since next() is code and is declared there';
    for (const next of ['after => after', null, 5, { next: 1 }]) {
      const answer = await put(api, { id: 'x', payload: { region: 'eu' }, next });
      expectProblem(answer, 422, 'schedule-invalid');
      expect(answer.body.problems).toEqual([{ where: 'next', expected, got: JSON.stringify(next) }]);
    }
  });
});

function put(api: Api, { id, ...body }: Fields) {
  return api.call('PUT', `/v1/schedules/${encodeURIComponent(String(id))}`, { json: { job: 'report', ...body } });
}

function problemsInCode(fields: Fields): Problem[] {
  const { problems } = defineJob({ name: 'report', payload, schedules: [fields] as never, run: () => null });
  return problems.map((problem) => ({ ...problem, where: problem.where.replace('report: schedules[0].', '') }));
}

function text(problems: readonly Problem[]): string {
  const lines = problems.map(({ where, expected, got }) => `  ${where}: expected ${expected}; got ${got}`);
  return ['The schedule is wrong', ...lines].join('\n');
}

const named = (answers: readonly unknown[]) =>
  Object.fromEntries(answers.map((answer, at) => [cases[at]?.[0], answer]));

function prepare() {
  const folder = freshFolder();
  const module = `export default [defineJob({
    name: 'report', payload: z.object({ region: z.enum(['eu', 'us']) }), run: () => null,
  })];`;
  return { folder, env: { RONDO_PREFIX: freshPrefix(), RONDO_JOBS: writeJobs(module, { folder }) } };
}
