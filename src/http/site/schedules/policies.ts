import { formatDuration } from '../../../duration.js';
import type { JobDefinition } from '../../../jobs/define-job.js';
import type { Overlap } from '../../../jobs/overlap.js';
import { policyInWords } from '../../../jobs/words.js';
import type { ScheduleView } from '../../../producers/views.js';
import { type Html, html } from '../html.js';
import { shortTime } from './parts.js';

/** What a schedule and its job do in which case, in words. */
export function policyList(view: ScheduleView, job: JobDefinition | undefined): Html {
  const rows = [...timesOf(view), ...ticksOf(view), ...runsOf(job), ...originOf(view)];
  return html`<dl class="facts">${rows.map(([name, words]) => html`<div><dt>${name}</dt><dd>${words}</dd></div>`)}</dl>`;
}

type Row = readonly [name: string, words: string | Html];

function timesOf({ timing, words, triggerOnStart }: ScheduleView): Row[] {
  const rows: Row[] = [['When', timing.kind === 'cron' ? html`${words} <code>${timing.cron}</code>` : words]];
  const { startsAt, endsAt, spread } = timing;
  if (startsAt !== undefined) rows.push(['From', shortTime(new Date(startsAt).toISOString())]);
  if (endsAt !== undefined) rows.push(['Until', shortTime(new Date(endsAt).toISOString())]);
  if (spread) rows.push(['Spread', `each tick is due at a moment of its own within ${formatDuration(spread)}`]);
  if (timing.kind === 'cron' && timing.dst === 'skip') rows.push(['Clock', 'a time that it jumps over does not run']);
  if (triggerOnStart) rows.push(['At start', 'a run is started whenever a producer takes the lead']);
  return rows;
}

const overlaps: Record<Overlap, string> = {
  allow: 'both run',
  skip: 'the new tick is skipped',
  wait: 'the new tick runs afterwards; of several one waits, the others join it',
  replace: 'the run that executes is cancelled, and the new one starts',
};

function ticksOf({ policy, overlap, lateAfterMs }: ScheduleView): Row[] {
  const rows: Row[] = [
    ['Found late', policyInWords(policy)],
    ['While a run goes on', `${overlap}: ${overlaps[overlap]}`],
  ];
  if (lateAfterMs !== null)
    rows.push(['Too late', `what could not start within ${formatDuration(lateAfterMs)} does not run`]);
  return rows;
}

function runsOf(job: JobDefinition | undefined): Row[] {
  if (!job) return [['Job', 'this process does not know it']];
  const { retry, timeout, concurrency } = job;
  const delays = `${formatDuration(retry.delay)} at first, ${formatDuration(retry.maxDelay)} at most, ${retry.backoff}`;
  const tried = retry.attempts === 1 ? 'once' : `up to ${retry.attempts} times, with delays: ${delays}`;
  return [
    ['A run is tried', tried],
    ['An attempt may take', formatDuration(timeout)],
    ['At once, in each worker', `${concurrency}`],
  ];
}

function originOf({ owner, release, put }: ScheduleView): Row[] {
  if (put) return [['Made', `at run time by ${put.by}, ${shortTime(put.at)}`]];
  const app = owner.startsWith('code:') ? owner.slice('code:'.length) : owner;
  return [['Declared', `in code of ${app}${release ? `, release ${release}` : ''}`]];
}
