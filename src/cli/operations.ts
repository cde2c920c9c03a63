import type { Command } from 'commander';
import type { Broker } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import type { RondoEvent } from '../jobs/events.js';
import { isoOr, isoTime } from '../jobs/words.js';
import { chunks } from '../producers/chunks.js';
import {
  type PauseInput,
  pauseSchedule,
  removeSchedule,
  resumeSchedule,
  triggerSchedule,
} from '../producers/operations.js';
import type { Stored } from '../producers/plan.js';
import { readStore } from '../producers/store.js';
import { audited } from './audit.js';
import { print } from './output.js';
import { withRedis } from './session.js';
import { futureMoment } from './values.js';
import { whoAmI } from './who.js';

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
      withRedis(async (session) => {
        const pause = pauseOf(flags);
        const noted = { action: 'schedules pause', subject: schedule(id) };
        await audited(session, noted, () => pauseSchedule(session.broker, id, pause));
        print(paused({ id }, pause), flags, () => `${id} is paused${endOf(pause)}`);
      }),
    );

  schedules
    .command('resume')
    .argument('<id>')
    .description('let its ticks go on, from now')
    .option('--json', 'print JSON')
    .action((id: string, flags: Flags) =>
      withRedis(async (session) => {
        const noted = { action: 'schedules resume', subject: schedule(id) };
        const resumed = await audited(session, noted, () => resumeSchedule(session.broker, id, Date.now(), () => {}));
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
      withRedis(async (session) => {
        const { force = false } = flags;
        const noted = { action: 'schedules trigger', subject: schedule(id), request: { force } };
        const { job, run } = await audited(session, noted, () => triggerSchedule(session.broker, id, { force }));
        print({ schedule: id, job, run }, flags, () => `${job} ${run} is enqueued`);
      }),
    );

  schedules
    .command('remove')
    .argument('<id>')
    .description('remove one that no code declares; what was due still runs, and its ticks can be read for a month')
    .option('--json', 'print JSON')
    .action((id: string, flags: Flags) =>
      withRedis(async (session) => {
        const events: RondoEvent[] = [];
        const noted = { action: 'schedules remove', subject: schedule(id) };
        await audited(session, noted, () =>
          removeSchedule(session.broker, id, Date.now(), (event) => events.push(event)),
        );
        const due = events.flatMap((event) => (event.type === 'ticks.caught-up' ? event.ticks : []));
        print({ id, removed: true, stillRuns: due.map(isoTime) }, flags, () =>
          due.length > 0 ? `${id} is removed; still to run: ${due.map(isoTime).join(', ')}` : `${id} is removed`,
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
      return withRedis(async (session) => {
        const { broker } = session;
        const pause = pauseOf(flags);
        const { by, note, until } = pause;
        const noted = { action: 'pause --all', request: { by, note, until: isoOr(until) } };
        const done = await audited(session, noted, () =>
          onAll(broker, async (stored) => {
            if (outlasts(stored.pause, pause)) return false;
            await pauseSchedule(broker, stored.id, pause);
            return true;
          }),
        );
        print(paused(done, pause), flags, () => {
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
      return withRedis(async (session) => {
        const { broker } = session;
        const done = await audited(session, { action: 'resume --all' }, () =>
          onAll(broker, ({ id }) => resumeSchedule(broker, id, Date.now(), () => {})),
        );
        print(done, flags, () => `${done.changed} of ${done.total} schedules go on; ${done.left} were not paused`);
      });
    });
}

const schedule = (id: string) => ({ kind: 'schedule', id }) as const;

function pauseOptions(command: Command): Command {
  return command
    .option('--note <text>', 'why, for others to read')
    .option('--until <time>', 'go on by itself at this time, or after this duration', futureMoment)
    .option('--by <name>', 'who pauses it, in place of this user of this machine')
    .option('--json', 'print JSON');
}

function pauseOf({ by = whoAmI(), note = '', until = null }: Omit<PauseFlags, 'until'> & { until?: number | null }) {
  return { by, note, until, now: Date.now() };
}

function paused<Facts extends object>(facts: Facts, { by, note, until }: PauseInput) {
  return { ...facts, pause: { by, note, until: isoOr(until) } };
}

const endOf = ({ until }: PauseInput) => (until === null ? '' : ` until ${isoTime(until)}`);

/** A pause that somebody has made for longer keeps its note. */
function outlasts(before: Stored['pause'], { until, now }: PauseInput): boolean {
  if (!before || (before.until !== null && before.until <= now)) return false;
  return before.until === null || (until !== null && before.until >= until);
}

function wantAll({ all }: { all?: boolean }, verb: string): void {
  if (all) return;
  throw new RondoError('usage-wrong', `rondo ${verb} takes --all; for one it is: rondo schedules ${verb} <id>`);
}

/** @throws RondoError the first that went wrong, when all have had their turn */
async function onAll(broker: Broker, change: (stored: Stored) => Promise<boolean>) {
  const { stored, unreadable } = await readStore(broker);
  if (unreadable.size > 0)
    console.error(`rondo: left out, since their entries in the store cannot be read: ${[...unreadable].join(', ')}`);
  const done = { total: stored.size, changed: 0, left: 0 };
  const failures: unknown[] = [];
  for (const batch of chunks([...stored.values()], 200)) {
    for (const result of await Promise.allSettled(batch.map(change))) {
      if (result.status === 'rejected') failures.push(result.reason);
      else if (result.value) done.changed++;
      else done.left++;
    }
    progress(done.changed + done.left + failures.length, stored.size);
  }
  // One that has been removed meanwhile needs neither.
  const serious = failures.filter((it) => !(it instanceof RondoError && it.code === 'schedule-unknown'));
  if (serious.length === 0) return done;
  console.error(`rondo: ${serious.length} of ${stored.size} schedules could not be changed; the first because:`);
  throw serious[0];
}

export function progress(done: number, total: number): void {
  if (!process.stderr.isTTY || total < 1_000) return;
  process.stderr.write(done < total ? `\r${done} of ${total}` : '\r\u001b[K');
}
