import { setTimeout as wait } from 'node:timers/promises';
import type { Command } from 'commander';
import type { BackfillRecord } from '../broker/backfills.js';
import type { Broker } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import { isoTime } from '../jobs/words.js';
import { untilSignal } from '../lifecycle.js';
import { beginBackfill, previewBackfill, storedOr } from '../producers/backfill.js';
import type { LeftOut } from '../producers/backfill-plan.js';
import {
  type BackfillPlanView,
  type BackfillView,
  backfillView,
  leftOutWords,
  listBackfills,
  planView,
} from '../producers/backfill-views.js';
import {
  cancelBackfills,
  feedBackfill,
  findStopped,
  isPaused,
  removeWaiting,
  resumeBackfill,
  stopBackfill,
} from '../producers/feed.js';
import { audited, type Operator } from './audit.js';
import { print, table } from './output.js';
import { withRedis } from './session.js';
import { moment } from './values.js';
import { whoAmI } from './who.js';

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
    .action((id: string, flags: Flags) => withRedis((session) => workOf(flags)(session, id, flags)));
}

/** Either a range, or one of the words that do without. */
function workOf(flags: Flags): (session: Operator, id: string, flags: Flags) => Promise<void> {
  const words = (['resume', 'cancel', 'status'] as const).filter((name) => flags[name]);
  const [word, another] = words;
  if (another) throw new RondoError('usage-wrong', `--${word} and --${another} exclude each other`);
  if (!word) return flags.dryRun ? preview : start;
  const beside = (['from', 'to', 'onlyMissed', 'dryRun', 'yes', 'by'] as const).find(
    (name) => flags[name] !== undefined,
  );
  if (beside)
    throw new RondoError('usage-wrong', `--${word} takes no --${beside.replace(/[A-Z]/, '-$&').toLowerCase()}`);
  return { resume, cancel, status }[word];
}

async function preview({ broker }: Operator, id: string, flags: Flags): Promise<void> {
  const plan = planView(await previewBackfill(broker, id, { ...rangeOf(flags), now: Date.now() }));
  print({ schedule: id, dryRun: true, ...plan }, flags, () => planInWords(id, plan, 'would run'));
}

async function start(session: Operator, id: string, flags: Flags): Promise<void> {
  const { broker } = session;
  const { by = whoAmI(), yes = false } = flags;
  const input = { ...rangeOf(flags), by, now: Date.now(), confirmed: yes };
  const asked = { from: isoTime(input.from), to: isoTime(input.to), onlyMissed: input.onlyMissed, by };
  const noted = { action: 'schedules backfill', subject: { kind: 'schedule', id }, request: asked } as const;
  const { backfill, resumed, plan } = await audited(session, noted, () =>
    beginBackfill(broker, id, input).catch(hintYes),
  );
  if (!backfill) {
    const view = planView(plan);
    print({ schedule: id, backfill: null, ...view }, flags, () => planInWords(id, view, 'runs'));
    return;
  }
  if (resumed) await resumeBackfill(broker, backfill);
  else if (!flags.json) console.error(planInWords(id, planView(plan), 'runs'));
  await feed(broker, backfill, flags);
}

async function resume(session: Operator, id: string, flags: Flags): Promise<void> {
  const { broker } = session;
  const found = await findStopped(broker, id);
  if (!found) throw new RondoError('backfill-unknown', `none of ${id} is stopped`);
  const noted = { action: 'schedules backfill --resume', subject: { kind: 'schedule', id } } as const;
  await audited(session, noted, () => resumeBackfill(broker, found));
  await feed(broker, found, flags);
}

/** Adds the runs, with a bar on a terminal, until all are added or Ctrl-C. */
async function feed(broker: Broker, backfill: BackfillRecord, flags: Flags): Promise<void> {
  const { specification } = await storedOr(broker, backfill.schedule);
  const bar = createBar(backfill.count, backfill.fed);
  let stopped = false;
  untilSignal().then(() => {
    stopped = true;
  });
  const feeding = { mayGoOn: () => !stopped, onStep: (_: string, { fed }: BackfillRecord) => bar.show(fed) };
  let record = await feedBackfill(broker, backfill, specification, feeding);
  // Another process is at it: this one looks on, and takes over where that one dies.
  while (record.state === 'feeding' && !stopped && !(await isPaused(broker, record, Date.now()))) {
    bar.show(record.fed);
    await wait(500);
    record = await feedBackfill(broker, backfill, specification, feeding);
  }
  bar.end();
  if (stopped && (await stopBackfill(broker, record)) === 'stopped') record = { ...record, state: 'stopped' };
  const view = backfillView(record);
  print(view, flags, () => standingInWords(view));
  if (record.state === 'stopped') process.exitCode = 1;
}

async function cancel(session: Operator, id: string, flags: Flags): Promise<void> {
  const { broker } = session;
  const noted = { action: 'schedules backfill --cancel', subject: { kind: 'schedule', id } } as const;
  const cancelled = await audited(session, noted, () => cancelBackfills(broker, id));
  const done: (BackfillView & { removed: number | null })[] = [];
  for (const record of cancelled) done.push({ ...backfillView(record), removed: await removeWaiting(broker, record) });
  print(done, flags, () =>
    done
      .map(({ id: name, removed, started, count }) => {
        const what = removed === null ? 'a producer removes what waits' : `${removed} runs were removed`;
        return `${id}: backfill ${name} is cancelled; ${what}, ${started} of ${count} had begun`;
      })
      .join('\n'),
  );
}

async function status({ broker }: Operator, id: string, flags: Flags): Promise<void> {
  const found = await listBackfills(broker, id);
  const headings = ['backfill', 'state', 'from', 'to', 'ticks', 'added', 'begun', 'by', 'asked at'];
  const rows = found.map((it) => [
    ...[it.id, it.state, it.from, it.to, it.count, it.added, it.started, it.by, it.createdAt],
  ]);
  print(found, flags, () => table(headings, rows, `${id} has had no backfill.`));
}

function rangeOf({ from, to, onlyMissed = false }: Flags) {
  if (from !== undefined && to !== undefined) return { from, to, onlyMissed };
  throw new RondoError('usage-wrong', 'a backfill wants --from and --to, or one of --resume, --cancel, --status');
}

function hintYes(error: unknown): never {
  if (!(error instanceof RondoError && error.code === 'backfill-unconfirmed')) throw error;
  throw new RondoError(error.code, `${error.detail}; --dry-run shows them, --yes runs them`, { cause: error });
}

function planInWords(id: string, { count, first, last, leftOut }: BackfillPlanView, verb: string): string {
  const head = count === 0 ? `${id}: no tick to backfill` : `${id}: ${verb} ${count} ticks, ${first} to ${last}`;
  const others = Object.entries(leftOut).map(([reason, ticks]) => `  ${ticks} ${leftOutWords[reason as LeftOut]}`);
  return [others.length > 0 ? `${head}; left out:` : head, ...others].join('\n');
}

function standingInWords({ id, schedule, state, added, count }: BackfillView): string {
  const head = `${schedule}: backfill ${id}`;
  const again = `rondo schedules backfill ${schedule}`;
  switch (state) {
    case 'stopped':
      return `${head} is stopped at ${added} of ${count} runs; those go on. To go on with the rest: ${again} --resume`;
    case 'feeding':
      return `${head} waits until the schedule is resumed`;
    case 'cancelling':
    case 'cancelled':
      return `${head} was cancelled meanwhile`;
    case 'fed':
    case 'done':
      return `${head}: all ${count} runs are added. How far they are: ${again} --status`;
  }
}

/** A line on a terminal that is written over and over: how much is done, and how fast. */
function createBar(total: number, before: number) {
  const shown = process.stderr.isTTY;
  const startedAt = performance.now();
  return {
    show(done: number): void {
      if (!shown) return;
      const width = 30;
      const full = Math.round((width * done) / total);
      const perSecond = Math.round((done - before) / Math.max(0.001, (performance.now() - startedAt) / 1_000));
      const bar = '#'.repeat(full).padEnd(width, '.');
      process.stderr.write(`\r[${bar}] ${done} of ${total}, ${perSecond} a second\u001b[K`);
    },
    end(): void {
      if (shown) process.stderr.write('\r\u001b[K');
    },
  };
}
