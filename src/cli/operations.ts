import type { Command } from 'commander';
import { RondoError } from '../errors.js';
import { isoOr, isoTime } from '../jobs/words.js';
import { chunks } from '../producers/chunks.js';
import { codeOf } from './codes.js';
import type { Control, Pausable, PauseWanted } from './control.js';
import { print } from './output.js';
import { withControl } from './session.js';
import { futureMoment } from './values.js';

interface PauseFlags {
  note?: string;
  until?: number;
  by?: string;
  json?: boolean;
}

interface Flags {
  json?: boolean;
}

export function addOperationCommands(schedules: Command): void {
  pauseOptions(schedules.command('pause').argument('<id>'))
    .description('stop its ticks, those included that wait; what runs goes on')
    .action((id: string, flags: PauseFlags) =>
      withControl(async (control) => {
        const pause = pauseOf(flags);
        const by = await control.pause(id, pause);
        print(paused({ id }, { ...pause, by }), flags, () => `${id} is paused${endOf(pause)}`);
      }),
    );

  schedules
    .command('resume')
    .argument('<id>')
    .description('let its ticks go on, from now')
    .option('--json', 'print JSON')
    .action((id: string, flags: Flags) =>
      withControl(async (control) => {
        const resumed = await control.resume(id);
        print({ id, resumed }, flags, () => (resumed ? `${id} goes on` : `${id} was not paused`));
      }),
    );

  schedules
    .command('trigger')
    .argument('<id>')
    .description('start a run of it now; it is no tick of its')
    .option('--force', 'even while another run executes, whatever the schedule says of overlap')
    .option('--json', 'print JSON')
    .action((id: string, flags: Flags & { force?: boolean }) =>
      withControl(async (control) => {
        const { job, run } = await control.trigger(id, flags);
        print({ schedule: id, job, run }, flags, () => `${job} ${run} is enqueued`);
      }),
    );

  schedules
    .command('remove')
    .argument('<id>')
    .description('remove one that no code declares; what was due still runs, and its ticks can be read for a month')
    .option('--json', 'print JSON')
    .action((id: string, flags: Flags) =>
      withControl(async (control) => {
        const due = await control.remove(id);
        print({ id, removed: true, stillRuns: due }, flags, () =>
          due.length > 0 ? `${id} is removed; still to run: ${due.join(', ')}` : `${id} is removed`,
        );
      }),
    );
}

/** `rondo pause --all` and `rondo resume --all`: every schedule under the prefix, whoever owns it. */
export function addOperationsOnAll(program: Command): void {
  pauseOptions(program.command('pause').option('--all', 'every schedule'))
    .description('stop the ticks of all schedules')
    .action((flags: PauseFlags & { all?: boolean }) => {
      wantAll(flags, 'pause');
      return withControl(async (control) => {
        const pause = pauseOf(flags);
        let by = pause.by ?? null;
        const now = Date.now();
        const asked = { by, note: pause.note, until: isoOr(pause.until) };
        const done = await control.asOne({ action: 'pause --all', request: asked }, (each) =>
          onAll(control, async (schedule) => {
            if (outlasts(schedule.pause, pause, now)) return false;
            by = await each.pause(schedule.id, pause);
            return true;
          }),
        );
        print(paused(done, { ...pause, by }), flags, () => {
          const before = done.left > 0 ? `; paused for as long already: ${done.left}` : '';
          return `${done.changed} of ${done.total} schedules are paused${endOf(pause)}${before}`;
        });
      });
    });

  program
    .command('resume')
    .option('--all', 'every schedule')
    .description('let the ticks of all schedules go on, from now')
    .option('--json', 'print JSON')
    .action((flags: Flags & { all?: boolean }) => {
      wantAll(flags, 'resume');
      return withControl(async (control) => {
        const done = await control.asOne({ action: 'resume --all' }, (each) =>
          onAll(control, ({ id }) => each.resume(id)),
        );
        print(done, flags, () => `${done.changed} of ${done.total} schedules go on; ${done.left} were not paused`);
      });
    });
}

function pauseOptions(command: Command): Command {
  return command
    .option('--note <text>', 'why, for others to read')
    .option('--until <time>', 'go on by itself at this time, or after this duration', futureMoment)
    .option('--by <name>', 'who pauses it, in place of this user of this machine')
    .option('--json', 'print JSON');
}

function pauseOf({ by, note = '', until }: PauseFlags): PauseWanted {
  return { by, note, until: until ?? null };
}

function paused<Facts extends object>(
  facts: Facts,
  { by, note, until }: Omit<PauseWanted, 'by'> & { by: string | null },
) {
  return { ...facts, pause: { by, note, until: isoOr(until) } };
}

const endOf = ({ until }: PauseWanted) => (until === null ? '' : ` until ${isoTime(until)}`);

/** A pause that somebody has made for longer keeps its note. */
function outlasts(before: Pausable['pause'], { until }: PauseWanted, now: number): boolean {
  if (!before || (before.until !== null && before.until <= now)) return false;
  return before.until === null || (until !== null && before.until >= until);
}

function wantAll({ all }: { all?: boolean }, verb: string): void {
  if (all) return;
  throw new RondoError('usage-wrong', `rondo ${verb} takes --all; for one it is: rondo schedules ${verb} <id>`);
}

/** @throws RondoError the first that went wrong, when all have had their turn */
async function onAll(control: Control, change: (schedule: Pausable) => Promise<boolean>) {
  const { schedules, unreadable } = await control.all();
  if (unreadable.length > 0)
    console.error(`rondo: left out, since their entries in the store cannot be read: ${unreadable.join(', ')}`);
  const done = { total: schedules.length, changed: 0, left: 0 };
  const failures: unknown[] = [];
  for (const batch of chunks(schedules, control.atOnce)) {
    for (const result of await Promise.allSettled(batch.map(change))) {
      if (result.status === 'rejected') failures.push(result.reason);
      else if (result.value) done.changed++;
      else done.left++;
    }
    progress(done.changed + done.left + failures.length, schedules.length);
  }
  // One that has been removed meanwhile needs neither.
  const serious = failures.filter((it) => codeOf(it) !== 'schedule-unknown');
  if (serious.length === 0) return done;
  console.error(`rondo: ${serious.length} of ${schedules.length} schedules could not be changed; the first because:`);
  throw serious[0];
}

export function progress(done: number, total: number): void {
  if (!process.stderr.isTTY || total < 1_000) return;
  process.stderr.write(done < total ? `\r${done} of ${total}` : '\r\u001b[K');
}
