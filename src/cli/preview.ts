import type { Command } from 'commander';
import { loadConfig } from '../config.js';
import { RondoError } from '../errors.js';
import type { Registry } from '../jobs/registry.js';
import { withNearest } from '../problems.js';
import { type PreviewInput, type PreviewView, previewOf } from '../producers/preview-view.js';
import { apiAccess } from './door.js';
import { print, table } from './output.js';
import { withControl, withJobs } from './session.js';
import { moment, wholeNumber } from './values.js';

interface Flags {
  count: number;
  from?: number;
  json?: boolean;
}

/** The times of a schedule: one that the code declares needs no Redis, another is looked up there. */
export function addPreviewCommand(schedules: Command): void {
  schedules
    .command('preview')
    .argument('<id>')
    .description('when a schedule runs next, and what the clock and its calendars do to that')
    .option('--count <number>', 'this many times', wholeNumber(1, 10_000), 5)
    .option('--from <time>', 'after this time instead of now', moment)
    .option('--json', 'print JSON')
    .action(async (id: string, flags: Flags) => {
      const input = { from: flags.from ?? Date.now(), count: flags.count };
      const found = (await previewDeclared(id, input)) ?? (await withControl((control) => control.preview(id, input)));
      print(found, flags, () => pageOf(found));
    });
}

async function previewDeclared(id: string, input: PreviewInput): Promise<PreviewView | null> {
  if (apiAccess()) return null; // what that one's code declares, not this one's
  return withJobs(({ config, registry }) => {
    const found = registry.findSchedule(id);
    if (found) return previewOf(id, found.schedule.timing, found.schedule.next, input);
    if (config.redis.kind === 'embedded') {
      loadConfig(); // in production, where it wants an address, it says so
      throw new RondoError('schedule-unknown', withNearest(id, idsOf(registry)));
    }
    return null;
  });
}

function idsOf(registry: Registry): string[] {
  return registry.jobs.flatMap((job) => job.schedules.map(({ id }) => id));
}

function pageOf({ words, times, left, complete }: PreviewView): string {
  const rows = [
    ...times.map(({ time, local, note }) => ({ at: time, cells: [time, local, note] })),
    ...left.map(({ time, to, count, local, note }) => ({
      at: time,
      cells: [count === 1 ? time : `${time} - ${to}`, local, note],
    })),
  ];
  rows.sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
  const cells = rows.map((row) => row.cells);
  const lines = [words, '', table(['utc', 'local', 'note'], cells, 'It has ended.')];
  if (times.length === 0 && rows.length > 0) lines.push('It has ended.');
  if (!complete) lines.push('More is excluded than was counted: not all of it is shown.');
  return lines.join('\n');
}
