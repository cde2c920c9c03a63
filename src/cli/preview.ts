import type { Command } from 'commander';
import { RondoError } from '../errors.js';
import { type Timing, ticksAfter } from '../jobs/schedule.js';
import { inWords, isoTime } from '../jobs/words.js';
import { withNearest } from '../problems.js';
import { print, table } from './output.js';
import { withJobs } from './session.js';
import { moment, wholeNumber } from './values.js';

interface Flags {
  count: number;
  from?: number;
  json?: boolean;
}

/** The times of a schedule as the code declares it; needs no Redis. */
export function addPreviewCommand(schedules: Command): void {
  schedules
    .command('preview')
    .argument('<id>')
    .description('when a schedule that the code declares runs next')
    .option('--count <number>', 'this many times', wholeNumber(1, 10_000), 5)
    .option('--from <time>', 'after this time instead of now', moment)
    .option('--json', 'print JSON')
    .action((id: string, flags: Flags) =>
      withJobs(({ registry }) => {
        const found = registry.findSchedule(id);
        if (!found) {
          const known = registry.jobs.flatMap((job) => job.schedules.map((it) => it.id));
          throw new RondoError('schedule-unknown', withNearest(id, known));
        }
        const { timing, next } = found.schedule;
        const ticks = firstOf(ticksAfter(timing, flags.from ?? Date.now(), next), flags.count);
        const times = ticks.map((time) => ({ time: isoTime(time), local: localTime(time, timing) }));
        print({ id, times }, flags, () => preview(inWords(timing), times));
      }),
    );
}

function firstOf<Item>(items: Iterable<Item>, count: number): Item[] {
  const first: Item[] = [];
  for (const item of items) if (first.push(item) >= count) break;
  return first;
}

function preview(words: string, times: readonly { time: string; local: string | null }[]): string {
  const rows = times.map(({ time, local }) => [time, local]);
  return `${words}\n\n${table(['utc', 'local'], rows, 'It has ended.')}`;
}

function localTime(time: number, timing: Timing): string | null {
  if (timing.kind !== 'cron' || timing.timezone === 'UTC') return null;
  const style = {
    weekday: 'short',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    timeZoneName: 'short',
  } as const;
  return new Intl.DateTimeFormat('en-GB', { ...style, timeZone: timing.timezone }).format(time);
}
