import { expect } from 'vitest';
import { type ProgramOptions, runWarm } from './processes.js';

/** Nobody listens there, so whoever connects fails. */
export const refused = 'redis://127.0.0.1:1';
export const stackTrace = /^\s+at .*[:(]/m;

export const shopJobs = `
export default [
  defineJob({
    name: 'send-receipt',
    description: 'Mails a receipt',
    payload: z.object({ order: z.int().positive(), lines: z.array(z.object({ price: z.number() })) }),
    retry: { attempts: 4, backoff: 'fixed', delay: '3s' },
    timeout: '2m',
    run: () => 'sent',
  }),
  defineJob({
    name: 'close-day',
    schedules: [
      { id: 'close-day-paris', cron: '0 7 * * *', timezone: 'Europe/Paris' },
      { id: 'close-day-gap', cron: '30 2 * * *', timezone: 'Europe/Paris' },
    ],
    run: () => null,
  }),
  defineJob({ name: 'retired', enabled: false, run: () => null }),
];`;

/** The command line under some settings: what it prints where it succeeds, and all of it from `attempt`. */
export function commands(env: ProgramOptions['env']) {
  const attempt = (...args: string[]) => runWarm(args, { env });
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await attempt(...args);
    expect({ code, stderr }, args.join(' ')).toEqual({ code: 0, stderr: '' });
    return stdout;
  };
  const json = async (...args: string[]) => JSON.parse(await run(...args, '--json'));
  return Object.assign(run, { attempt, json });
}

export function words(line: string): string[] {
  return line.split(' ').filter(Boolean);
}

/** The cells of a printed table, line by line; columns are two or more spaces apart. */
export function rowsOf(text: string): string[][] {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line) => line.trim().split(/ {2,}/));
}
