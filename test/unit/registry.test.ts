import { describe, expect, test } from 'vitest';
import { type ErrorCode, RondoError } from '../../src/errors.js';
import { defineJob, type JobDefinition } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';

function job(name: string, ...schedules: string[]): JobDefinition {
  return defineJob({ name, schedules: schedules.map((id) => ({ id, every: '1h' })), run: () => null });
}

function refused(code: ErrorCode, action: () => unknown): RondoError {
  try {
    action();
  } catch (error) {
    if (error instanceof RondoError && error.code === code) return error;
    throw error;
  }
  throw new Error(`expected ${code}`);
}

describe('the registry', () => {
  const registry = createRegistry([job('send-email'), job('report', 'report-eu', 'report-us')]);

  test('finds jobs by name and schedules by id', () => {
    expect(registry.jobs.map(({ name }) => name)).toEqual(['send-email', 'report']);
    expect(registry.get('report').name).toBe('report');
    expect(registry.find('send-email')?.name).toBe('send-email');
    const found = registry.findSchedule('report-us');
    expect([found?.job.name, found?.schedule.id]).toEqual(['report', 'report-us']);
  });

  test('answers nothing where it is asked to find what there is not', () => {
    expect(registry.find('send-sms')).toBeUndefined();
    expect(registry.findSchedule('report')).toBeUndefined();
  });

  test('refuses an unknown job, with the nearest name where one is near', () => {
    expect(refused('job-unknown', () => registry.get('send-emial')).message).toContain(
      '"send-emial" (did you mean "send-email"?)',
    );
    expect(refused('job-unknown', () => registry.get('heartbeat')).message).not.toContain('did you mean');
  });

  test('refuses two jobs of one name', () => {
    expect(refused('jobs-invalid', () => createRegistry([job('report'), job('report')])).problems).toEqual([
      { where: 'report: name', expected: 'a name of its own among all jobs', got: '"report" again' },
    ]);
  });

  test('refuses two schedules of one id, of one job or of two', () => {
    const again = { where: 'b: schedule id', expected: 'an id of its own among all schedules', got: '"x" again' };
    expect(refused('jobs-invalid', () => createRegistry([job('a', 'x'), job('b', 'x')])).problems).toEqual([again]);
    expect(refused('jobs-invalid', () => createRegistry([job('b', 'x', 'x')])).problems).toEqual([again]);
  });

  test('tells all problems of all jobs in one error, duplicates included', () => {
    const wrong = defineJob({ name: 'Digest', timeout: 0, run: () => null });
    const error = refused('jobs-invalid', () => createRegistry([wrong, job('a', 'x'), job('a', 'x')]));
    expect(error.problems.map(({ where }) => where)).toEqual([
      'Digest: name',
      'Digest: timeout',
      'a: name',
      'a: schedule id',
    ]);
    for (const { where, expected, got } of error.problems) {
      expect(error.message).toContain(`${where}: expected ${expected}; got ${got}`);
    }
  });

  test('tells two schedules of one id where their job is wrong otherwise too', () => {
    const twice = ['x', 'x'].map((id) => ({ id, every: '1h' as const }));
    const wrong = defineJob({ name: 'b', timeout: 0, schedules: twice, run: () => null });
    expect(
      refused('jobs-invalid', () => createRegistry([wrong, job('a', 'x')])).problems.map(({ where }) => where),
    ).toEqual(['b: timeout', 'b: schedule id', 'a: schedule id']);
  });

  test('says plainly where something is no job at all', () => {
    const { problems } = refused('jobs-invalid', () => createRegistry([defineJob(null as never)]));
    expect(problems).toEqual([{ where: '(a job without a name)', expected: 'an object', got: 'null' }]);
  });

  test('takes two jobs without a name for two mistakes, not for a duplicate', () => {
    const nameless = () => defineJob({ run: () => null } as unknown as { name: string; run: () => null });
    expect(refused('jobs-invalid', () => createRegistry([nameless(), nameless()])).problems).toEqual(
      Array(2).fill({ where: '(a job without a name): name', expected: 'a string', got: 'nothing' }),
    );
  });

  test('may be empty', () => {
    expect(createRegistry([]).jobs).toEqual([]);
  });
});
