import type { Command } from 'commander';
import type { Broker } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import { nextTick, type Timing, ticksAfter } from '../jobs/schedule.js';
import { inWords } from '../jobs/words.js';
import { nearest } from '../problems.js';
import { type Chain, type Change, type Plan, type Stored, wantedOf } from '../producers/plan.js';
import { planNow, readState, reconcile } from '../producers/schedules.js';
import { facts, isoTime, print, table } from './output.js';
import { type Session, withJobs, withRedis } from './session.js';
import { moment, wholeNumber } from './values.js';

interface Flags {
  json?: boolean;
}

export function addScheduleCommands(schedules: Command): void {
  schedules
    .command('list')
    .description('every schedule in Redis, and when it runs next')
    .option('--json', 'print JSON')
    .action((flags: Flags) =>
      withRedis(async ({ broker }) => {
        const views = await viewsOf(broker);
        print(views, flags, () => listing(views));
      }),
    );

  schedules
    .command('show')
    .argument('<id>')
    .description('one schedule: what is wanted, and where it stands')
    .option('--json', 'print JSON')
    .action((id: string, flags: Flags) =>
      withRedis(async ({ broker }) => {
        const views = await viewsOf(broker);
        const view =
          views.find((it) => it.id === id) ??
          unknownSchedule(
            id,
            views.map((it) => it.id),
          );
        print(view, flags, () =>
          facts({ ...view, payload: JSON.stringify(view.payload), timing: null, runs: inWords(view.timing) }),
        );
      }),
    );

  schedules
    .command('plan')
    .description('what would change in Redis for it to hold what the code declares')
    .option('--json', 'print JSON')
    .action((flags: Flags) =>
      withRedis(async (session) => {
        const planned = await planNow(session.broker, inputOf(session));
        print(jsonOf(planned), flags, () => planText(planned));
      }),
    );

  schedules
    .command('apply')
    .description('make those changes now')
    .option('--yes', 'remove schedules even where most of the app’s would go')
    .option('--json', 'print JSON')
    .action((flags: Flags & { yes?: boolean }) =>
      withRedis(async (session) => {
        const done = await reconcile(session.broker, { ...inputOf(session), removeMany: flags.yes }, () => {});
        print(
          { ...jsonOf(done), failed: done.failed.map(({ id, error }) => ({ id, error: String(error) })) },
          flags,
          () => planText(done),
        );
        if (done.failed.length > 0 || done.conflicts.length > 0 || done.refused) process.exitCode = 1;
      }),
    );

  schedules
    .command('preview')
    .argument('<id>')
    .description('when a schedule that the code declares runs next')
    .option('--count <number>', 'this many times', wholeNumber(1, 10_000), 5)
    .option('--from <time>', 'after this time instead of now', moment)
    .option('--json', 'print JSON')
    .action((id: string, flags: Flags & { count: number; from?: number }) =>
      withJobs(({ registry }) => {
        const found =
          registry.findSchedule(id) ??
          unknownSchedule(
            id,
            registry.jobs.flatMap((job) => job.schedules.map((it) => it.id)),
          );
        const { timing, next } = found.schedule;
        const ticks = firstOf(ticksAfter(timing, flags.from ?? Date.now(), next), flags.count);
        const times = ticks.map((time) => ({ time: isoTime(time), local: localTime(time, timing) }));
        print({ id, times }, flags, () => preview(inWords(timing), times));
      }),
    );
}

interface ScheduleView {
  readonly id: string;
  readonly job: string;
  readonly description: string;
  readonly timing: Timing;
  readonly payload: unknown;
  readonly owner: string;
  readonly release: string;
  readonly next: string | null;
  readonly health: string;
}

async function viewsOf(broker: Broker): Promise<ScheduleView[]> {
  const { stored, chains, unreadable } = await readState(broker);
  if (unreadable.size > 0)
    console.error(`rondo: left out, since the store holds no sense for them: ${[...unreadable].join(', ')}`);
  const views = [...stored.values()].map((schedule) => viewOf(schedule, chains.get(schedule.id)));
  return views.sort((a, b) => (a.id < b.id ? -1 : 1));
}

function viewOf({ id, specification, owner, release }: Stored, chain: Chain | undefined): ScheduleView {
  const { job, description, timing, payload } = specification;
  const sound = chain && ['delayed', 'queued', 'active'].includes(chain.iteration);
  const over = timing.kind !== 'next' && nextTick(timing, Date.now()) === null;
  const next = sound ? isoTime(chain.next) : null;
  return {
    id,
    job,
    description,
    timing,
    payload,
    owner,
    release,
    next,
    health: sound ? 'sound' : over ? 'ended' : 'broken',
  };
}

function listing(views: readonly ScheduleView[]): string {
  const rows = views.map((view) => [
    view.id,
    view.job,
    inWords(view.timing),
    view.next,
    view.health,
    view.owner,
    view.release,
  ]);
  return table(
    ['schedule', 'job', 'runs', 'next', 'health', 'owner', 'release'],
    rows,
    'There are no schedules in Redis.',
  );
}

function inputOf({ config, registry }: Session) {
  return { app: config.app, release: config.release, wanted: wantedOf(registry), now: Date.now };
}

function jsonOf({ changes, unchanged, conflicts, refused }: Plan) {
  const shown = changes.map((change) => ({
    kind: change.kind,
    ...named(change),
    before: isoTime(change.before),
    after: isoTime(change.after),
    why: reasonOf(change),
  }));
  return { changes: shown, unchanged, conflicts, refused };
}

function planText(planned: Plan): string {
  const rows = planned.changes.map((change) => {
    const { id, job } = named(change);
    return [change.kind, id, job, isoTime(change.before), isoTime(change.after), reasonOf(change)];
  });
  const lines = [table(['change', 'schedule', 'job', 'next before', 'next after', 'why'], rows, 'Nothing to change.')];
  lines.push(`${planned.unchanged} unchanged.`);
  for (const { id, reason } of planned.conflicts) lines.push(`${id} is left as it is: ${reason}.`);
  if (planned.refused) {
    const { ids, owned } = planned.refused;
    lines.push(`Refused to remove ${ids.length} of ${owned} schedules (apply --yes does it): ${ids.join(', ')}.`);
  }
  return lines.join('\n');
}

function named(change: Change): { id: string; job: string } {
  const { id, specification } = change.kind === 'remove' ? change.stored : change.wanted;
  return { id, job: specification.job };
}

function reasonOf(change: Change): string {
  switch (change.kind) {
    case 'add':
      return 'new';
    case 'change':
      return `another ${change.fields.join(', ')}`;
    case 'heal':
      return change.reason;
    case 'remove':
      return 'no longer declared';
  }
}

function firstOf<Item>(items: Iterable<Item>, count: number): Item[] {
  const first: Item[] = [];
  for (const item of items) if (first.push(item) >= count) break;
  return first;
}

function preview(words: string, times: readonly { time: string | null; local: string | null }[]): string {
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

function unknownSchedule(id: string, known: readonly string[]): never {
  const near = nearest(id, known);
  throw new RondoError('schedule-unknown', near ? `"${id}" (did you mean "${near}"?)` : `"${id}"`);
}
