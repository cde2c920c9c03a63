import type { ServiceView } from '../producers/service.js';
import { print, table, whenFromNow } from './output.js';
import { withControl } from './session.js';
import { processTables } from './workers.js';

/** `rondo health --detailed`. @returns whether all is well */
export function tellOverview(flags: { json?: boolean }): Promise<boolean> {
  return withControl(async (control) => {
    const overview = await control.service();
    const well = overview.trouble.length === 0;
    print({ status: well ? 'ready' : 'unready', ...overview }, flags, () => inWords(overview));
    return well;
  });
}

function inWords({ trouble, leads, processes, schedules, next }: ServiceView): string {
  const headings = ['app', 'producers', 'leads', 'release', 'pid', 'host'];
  const rows = leads.map(({ app, producers, led, leader }) => [
    ...[app, producers, leader?.id ?? (led ? 'a process that is not known' : 'nobody')],
    ...[leader?.release, leader?.pid, leader?.host],
  ]);
  const counts = Object.entries(schedules.byHealth).map(([health, count]) => `${health} ${count}`);
  const due = next.map(({ schedule, job, due: at }) => [schedule, job, whenFromNow(at)]);
  return [
    trouble.length > 0 ? `Not well: ${trouble.join('; ')}.` : 'All is well.',
    table(headings, rows, 'No app has schedules or producers here.'),
    processTables(processes),
    `Schedules: ${schedules.total}${counts.length > 0 ? ` (${counts.join(', ')})` : ''}`,
    table(['next', 'job', 'due'], due, 'Nothing is due.'),
  ].join('\n\n');
}
