import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import type { Command } from 'commander';
import { type TickOutcome, tickOutcomes } from '../broker/tick-entry.js';
import { briefly } from '../jobs/words.js';
import { untilSignal } from '../lifecycle.js';
import type { TicksWanted, TickView } from '../producers/views.js';
import type { Control } from './control.js';
import { print, row, table } from './output.js';
import { withControl } from './session.js';
import { moment, refuseReversed, someOf, wholeNumber } from './values.js';

interface Flags {
  outcome?: TickOutcome[];
  from?: number;
  to?: number;
  limit: number;
  follow?: boolean;
  json?: boolean;
}

const followEveryMs = 1_000;

/** The ledger of one schedule, also of one that was removed within the month. */
export function addTicksCommand(schedules: Command): void {
  schedules
    .command('ticks')
    .argument('<id>')
    .description('what became of each tick of a schedule')
    .option('--outcome <names>', `only these, comma-separated: ${tickOutcomes.join(', ')}`, someOf(tickOutcomes))
    .option('--from <time>', 'from this time on', moment)
    .option('--to <time>', 'up to this time', moment)
    .option('--limit <number>', 'the newest so many', wholeNumber(1, 1_000), 20)
    .option('--follow', 'go on with what is new or has changed, until Ctrl-C')
    .option('--json', 'print JSON, with --follow one line an entry')
    .action((id: string, flags: Flags) => {
      refuseReversed(flags);
      return withControl(async (control) => {
        const wanted = { outcomes: flags.outcome, from: flags.from, to: flags.to };
        if (flags.follow) return follow(control, id, wanted, flags);
        const { job, removed, ticks, unreadable, knownFrom } = await control.ticks(id, {
          ...wanted,
          limit: flags.limit,
        });
        print({ schedule: id, job, removed, knownFrom, unreadable, ticks }, flags, () => tickTable(ticks));
        if (removed !== null && !flags.json) console.error(`rondo: ${id} was removed at ${removed}`);
        warnUnreadable(unreadable);
      });
    });
}

export function tickTable(ticks: readonly TickView[]): string {
  return table(headings, ticks.map(cellsOf), 'There are no such ticks.');
}

/** What cannot be read may be a newer release's, or the work of a hand: it is said, and left as it is. */
export function warnUnreadable(count: number): void {
  if (count === 0) return;
  const entries = count === 1 ? '1 entry of the ledger is' : `${count} entries of the ledger are`;
  console.error(`rondo: ${entries} unreadable to this release, and left as found`);
}

async function follow(control: Control, id: string, wanted: TicksWanted, { limit, json }: Flags): Promise<void> {
  await control.ticks(id, { ...wanted, limit: 1 }); // whether there is such a schedule is said at once
  const stop = new AbortController();
  untilSignal().then(() => stop.abort());
  once(process.stdout, 'error').then(() => stop.abort()); // its reader has seen enough
  const newsOf = createNews(limit);
  const awayOr = tellAway(control);
  let unreadable = 0;
  if (!json) console.log(row(widths, headings.map(inCapitals)));
  while (!stop.signal.aborted) {
    const found = await awayOr(() => control.ticks(id, wanted));
    for (const tick of found ? newsOf(found.ticks) : []) {
      console.log(json ? JSON.stringify(tick) : row(widths, cellsOf(tick)));
    }
    if (found && found.unreadable > unreadable) warnUnreadable(found.unreadable);
    unreadable = found?.unreadable ?? unreadable;
    // Through an API nothing else keeps the process alive.
    await wait(followEveryMs, undefined, { signal: stop.signal }).catch(() => {});
  }
}

/** Redis, or the API, may go and come back under somebody who watches: both are said, once. */
function tellAway(control: Control) {
  let away = false;
  return async <Found>(read: () => Promise<Found>): Promise<Found | null> => {
    try {
      const found = await read();
      if (away) console.error(`rondo: ${control.on} is back`);
      away = false;
      return found;
    } catch (error) {
      if (!control.isAway(error)) throw error;
      if (!away) console.error(`rondo: ${control.on} is away; going on when it is back`);
      away = true;
      return null;
    }
  };
}

/** Of what is shown again and again, what is new or differs from before; at first the newest so many. */
function createNews(limit: number): (ticks: readonly TickView[]) => TickView[] {
  let before: Map<string, string> | null = null;
  return (ticks) => {
    const known = before;
    before = new Map(ticks.map((tick) => [tick.time, JSON.stringify(tick)]));
    return known ? ticks.filter((tick) => known.get(tick.time) !== JSON.stringify(tick)) : ticks.slice(-limit);
  };
}

const inCapitals = (text: string) => text.toUpperCase();
const headings = ['time', 'outcome', 'late by', 'took', 'attempts', 'run', 'reason'];
const widths = [24, 9, 7, 6, 8, 30];

function cellsOf(tick: TickView): unknown[] {
  const { latenessMs, durationMs } = tick;
  return [
    tick.count === 1 ? tick.time : `${tick.time} - ${tick.to} (${tick.count})`,
    tick.outcome,
    latenessMs === null ? null : briefly(latenessMs),
    durationMs === null ? null : briefly(durationMs),
    tick.attempts || null, // none yet
    tick.run,
    tick.reason?.split('\n')[0],
  ];
}
