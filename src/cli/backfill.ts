import type { Command } from 'commander';
import { RondoError } from '../errors.js';
import { untilSignal } from '../lifecycle.js';
import type { LeftOut } from '../producers/backfill-plan.js';
import type { BackfillPlanView, BackfillView } from '../producers/backfill-views.js';
import { createBar } from './bar.js';
import { codeOf } from './codes.js';
import type { Control } from './control.js';
import { print, table } from './output.js';
import { withControl } from './session.js';
import { moment, refuseReversed } from './values.js';

interface Flags {
  from?: number;
  to?: number;
  onlyMissed?: boolean;
  dryRun?: boolean;
  yes?: boolean;
  by?: string;
  resume?: boolean;
  cancel?: boolean;
  status?: boolean;
  json?: boolean;
}

export function addBackfillCommand(schedules: Command): void {
  schedules
    .command('backfill')
    .argument('<id>')
    .description('run the ticks of a range of the past that have no run, oldest first, beside the live ones')
    .option('--from <time>', 'the first tick is not before this time', moment)
    .option('--to <time>', 'the last tick is not after this time', moment)
    .option('--only-missed', 'only ticks that the ledger knows to have had no run')
    .option('--dry-run', 'count and show; write nothing')
    .option('--yes', 'more than 100,000 ticks are meant')
    .option('--by <name>', 'who asks, in place of this user of this machine')
    .option('--resume', 'go on with the one that was stopped last')
    .option('--cancel', 'none of its runs begins from now on; what waits is removed, what runs goes on')
    .option('--status', 'the backfills of the schedule, and how far they are')
    .option('--json', 'print JSON')
    .action((id: string, flags: Flags) => {
      const work = workOf(flags);
      return withControl((control) => work(control, id));
    });
}

type Work = (control: Control, id: string) => Promise<void>;

/** Either a range, or one of the words that do without. @throws RondoError `usage-wrong` */
function workOf(flags: Flags): Work {
  const words = (['resume', 'cancel', 'status'] as const).filter((name) => flags[name]);
  const [word, another] = words;
  if (another) throw new RondoError('usage-wrong', `--${word} and --${another} exclude each other`);
  if (!word) {
    const range = rangeOf(flags);
    return (control, id) => (flags.dryRun ? preview : start)(control, id, { ...flags, range });
  }
  const beside = (['from', 'to', 'onlyMissed', 'dryRun', 'yes', 'by'] as const).find(
    (name) => flags[name] !== undefined,
  );
  if (beside)
    throw new RondoError('usage-wrong', `--${word} takes no --${beside.replace(/[A-Z]/, '-$&').toLowerCase()}`);
  const work = { resume, cancel, status }[word];
  return (control, id) => work(control, id, flags);
}

interface RangeFlags extends Flags {
  readonly range: ReturnType<typeof rangeOf>;
}

async function preview({ backfills }: Control, id: string, flags: RangeFlags): Promise<void> {
  const plan = await backfills.preview(id, flags.range);
  print({ schedule: id, dryRun: true, ...plan }, flags, () => planInWords(id, plan, 'would run'));
}

async function start(control: Control, id: string, flags: RangeFlags): Promise<void> {
  const input = { ...flags.range, by: flags.by, confirmed: flags.yes ?? false };
  const { backfill, resumed, plan } = await control.backfills.begin(id, input).catch(hintYes);
  if (!backfill) {
    print({ schedule: id, backfill: null, ...plan }, flags, () => planInWords(id, plan, 'runs'));
    return;
  }
  if (!resumed && !flags.json) console.error(planInWords(id, plan, 'runs'));
  await follow(control, backfill, flags);
}

async function resume(control: Control, id: string, flags: Flags): Promise<void> {
  await follow(control, await control.backfills.resume(id), flags);
}

/** Until all runs are added, with a bar on a terminal, or until Ctrl-C. */
async function follow({ backfills }: Control, backfill: BackfillView, flags: Flags): Promise<void> {
  const { count } = backfill;
  const bar = createBar(backfill.added, ` of ${count}`);
  let stopped = false;
  untilSignal().then(() => {
    stopped = true;
  });
  const view = await backfills.follow(backfill, {
    isStopped: () => stopped,
    onStep: (added) => bar.show(added, added / count),
  });
  bar.end();
  print(view, flags, () => standingInWords(view, stopped));
  if (['stopped', 'cancelling', 'cancelled'].includes(view.state)) process.exitCode = 1;
}

async function cancel({ backfills }: Control, id: string, flags: Flags): Promise<void> {
  const done = await backfills.cancel(id);
  print(done, flags, () =>
    done
      .map(({ id: name, removed, started, count }) => {
        const what = removed === null ? 'a producer removes what waits' : `${removed} runs were removed`;
        return `${id}: backfill ${name} is cancelled; ${what}, ${started} of ${count} had begun`;
      })
      .join('\n'),
  );
}

async function status({ backfills }: Control, id: string, flags: Flags): Promise<void> {
  const found = await backfills.list(id);
  const headings = ['backfill', 'state', 'from', 'to', 'ticks', 'added', 'begun', 'by', 'asked at'];
  const rows = found.map((it) => [
    ...[it.id, it.state, it.from, it.to, it.count, it.added, it.started, it.by, it.createdAt],
  ]);
  print(found, flags, () => table(headings, rows, `${id} has had no backfill.`));
}

function rangeOf({ from, to, onlyMissed = false }: Flags) {
  if (from === undefined || to === undefined) {
    throw new RondoError('usage-wrong', 'a backfill wants --from and --to, or one of --resume, --cancel, --status');
  }
  refuseReversed({ from, to });
  return { from, to, onlyMissed };
}

function hintYes(error: unknown): never {
  if (codeOf(error) !== 'backfill-unconfirmed') throw error;
  const { detail } = error as { detail: string };
  throw new RondoError('backfill-unconfirmed', `${detail}; --dry-run shows them, --yes runs them`, { cause: error });
}

function planInWords(id: string, { count, first, last, leftOut }: BackfillPlanView, verb: string): string {
  const head =
    count === 0
      ? `${id}: no tick to backfill`
      : `${id}: ${verb} ${count} ${count === 1 ? 'tick' : 'ticks'}, ${first} to ${last}`;
  const others = Object.entries(leftOut).map(([reason, ticks]) => `  ${ticks} ${leftOutWords[reason as LeftOut]}`);
  return [others.length > 0 ? `${head}; left out:` : head, ...others].join('\n');
}

function standingInWords({ id, schedule, state, added, count }: BackfillView, left: boolean): string {
  const head = `${schedule}: backfill ${id}`;
  const again = `rondo schedules backfill ${schedule}`;
  switch (state) {
    case 'stopped':
      return `${head} is stopped at ${added} of ${count} runs; those go on. To go on with the rest: ${again} --resume`;
    case 'feeding':
      if (left)
        return `${head} goes on without this command, at ${added} of ${count} runs. To end it: ${again} --cancel`;
      return `${head} waits until the schedule is resumed`;
    case 'cancelling':
    case 'cancelled':
      return `${head} was cancelled meanwhile`;
    case 'fed':
    case 'done':
      return `${head}: all ${count} runs are added. How far they are: ${again} --status`;
  }
}

/** Each reason why ticks are left out, in words. */
const leftOutWords: Record<LeftOut, string> = {
  ran: 'have a run already',
  inAnother: 'are in another backfill',
  live: 'get their runs by themselves',
  otherTimes: 'lie where the ledger was written by other times of the schedule',
  beforeKnown: 'are older than the ledger',
  notDue: 'were not due then',
};
