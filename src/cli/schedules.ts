import type { Command } from 'commander';
import { alertsInWords } from '../jobs/alerts.js';
import { briefly, policyInWords } from '../jobs/words.js';
import type { ScheduleDetails, ScheduleView } from '../producers/views.js';
import { addBackfillCommand } from './backfill.js';
import { addOperationCommands } from './operations.js';
import { facts, print, table, whenFromNow } from './output.js';
import { addPlanCommands } from './plan.js';
import { addPreviewCommand } from './preview.js';
import { addPutCommand } from './put.js';
import { withControl } from './session.js';
import { strip } from './strip.js';
import { addTicksCommand, tickTable, warnUnreadable } from './ticks.js';

interface Flags {
  json?: boolean;
}

/** How many ticks the strip of `show` has, and how many of them are lines too. */
const stripLength = 40;
const lastLines = 5;

export function addScheduleCommands(schedules: Command): void {
  schedules
    .command('list')
    .description('every schedule in Redis: when it runs next, and how its last tick went')
    .option('--json', 'print JSON')
    .action((flags: Flags) =>
      withControl(async (control) => {
        const { schedules: views, unreadable } = await control.schedules();
        print(views, flags, () => listing(views));
        if (unreadable.length > 0)
          console.error(`rondo: left out, since their entries in the store cannot be read: ${unreadable.join(', ')}`);
      }),
    );

  schedules
    .command('show')
    .argument('<id>')
    .description('one schedule: what it is, where it stands, and its last ticks')
    .option('--json', 'print JSON')
    .action((id: string, flags: Flags) =>
      withControl(async (control) => {
        const view = await control.schedule(id, stripLength);
        print(view, flags, () => page(view));
        warnUnreadable(view.unreadable);
      }),
    );

  addTicksCommand(schedules);
  addPutCommand(schedules);
  addOperationCommands(schedules);
  addBackfillCommand(schedules);
  addPlanCommands(schedules);
  addPreviewCommand(schedules);
}

function listing(views: readonly ScheduleView[]): string {
  const now = Date.now();
  const rows = views.map((view) => [
    view.id,
    view.job,
    view.words,
    whenFromNow(view.next, now),
    view.health,
    view.last?.outcome,
    view.last?.latenessMs == null ? null : briefly(view.last.latenessMs),
    view.runs,
    view.owner,
    view.release,
  ]);
  const headings = ['schedule', 'job', 'when', 'next', 'health', 'last', 'late by', 'runs', 'owner', 'release'];
  return table(headings, rows, 'There are no schedules in Redis.');
}

function page(view: ScheduleDetails): string {
  const { pause, ledger } = view;
  const head = facts({
    schedule: view.id,
    description: view.description,
    job: view.job,
    payload: JSON.stringify(view.payload),
    when: view.words,
    between: betweenOf(view),
    spread: spreadOf(view),
    misfire: policyInWords(view.policy),
    overlap: view.overlap === 'allow' ? null : view.overlap,
    'too late': view.lateAfterMs && `${briefly(view.lateAfterMs)} after it was due`,
    alerts: view.alerts && alertsInWords(view.alerts),
    healthcheck: view.healthcheck,
    health: view.why ? `${view.health}: ${view.why}` : view.health,
    paused: pause && `${pauseInWords(pause)}, since ${pause.since}`,
    note: pause?.note,
    next: view.next && view.health === 'late' ? whenFromNow(view.next) : null,
    upcoming: view.upcoming.map(({ due }) => whenFromNow(due)).join(', '),
    runs: view.runs,
    owner: ownerOf(view),
    ledger: ledger && `accounted for up to ${ledger.at}, known from ${ledger.knownFrom ?? 'its beginning'}`,
  });
  if (view.ticks.length === 0) return `${head}\n\nIt has no ticks yet.`;
  const { line, legend } = strip(view.ticks, process.stdout.hasColors?.() ?? false);
  return [head, `last    ${line}\n        ${legend}`, tickTable(view.ticks.slice(-lastLines))].join('\n\n');
}

export function pauseInWords({ by, until }: { by: string; until: string | null }): string {
  return until === null ? `by ${by}, until it is resumed` : `by ${by}, until ${until}`;
}

function ownerOf({ owner, release, put }: ScheduleView): string {
  return put ? `${owner}, put by ${put.by} at ${put.at}` : `${owner}, release ${release}`;
}

function betweenOf({ timing }: ScheduleView): string | null {
  const { startsAt, endsAt } = timing;
  const day = (time: number) => new Date(time).toISOString();
  const parts = [startsAt !== undefined && `from ${day(startsAt)}`, endsAt !== undefined && `to ${day(endsAt)}`];
  return parts.filter(Boolean).join(' ') || null;
}

function spreadOf({ timing }: ScheduleView): string | null {
  if (timing.spread === undefined) return null;
  return `each tick is due ${briefly(timing.offset ?? 0)} after its time, of a window of ${briefly(timing.spread)}`;
}
