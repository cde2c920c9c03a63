import { briefly } from '../../../jobs/words.js';
import type { ProcessList, ProcessState, ProcessView, RunningView } from '../../../producers/processes.js';
import { type Html, html } from '../html.js';
import { liveAttributes } from '../live.js';
import { addressOf, jobAddress, runAddress, shortTime } from '../schedules/parts.js';

/** Who looks at the page. */
export interface Viewer {
  /** Whether it is one of the jobs that the key is for. */
  mayUse(job: string): boolean;
  mayCancel(job: string): boolean;
}

const doneWords = {
  cancel: 'The run is told to end: its signal aborts within a second.',
  ended: 'The run had ended already.',
} as const;

export function workersPage(found: ProcessList, viewer: Viewer, did: keyof typeof doneWords | undefined): Html {
  const content = workersContent(found, viewer);
  return html`<div class="title"><h1>Workers</h1><p class="live" role="status" data-live-state></p></div>
${did && html`<p class="note good" role="status">${doneWords[did]}</p>`}
<div ${liveAttributes('all', content)}>${content}</div>`;
}

/** All that changes while somebody looks. */
export function workersContent({ processes, unreadable, left }: ProcessList, viewer: Viewer): Html {
  const shown = processes.map((process) => ({
    ...process,
    runs: process.runs.filter(({ job }) => viewer.mayUse(job)),
  }));
  const stuck = shown.flatMap((process) =>
    process.runs.filter((run) => run.stuck !== null).map((run) => ({ process, run })),
  );
  const workers = shown.filter(({ roles }) => roles.includes('worker'));
  const slots = workers.reduce((sum, process) => sum + slotsOf(process), 0);
  const running = workers.reduce((sum, process) => sum + process.running, 0);
  return html`<section class="card"><h2 class="hidden">At a glance</h2><dl class="figures">
<div><dt>Workers</dt><dd>${number(workers.length)}</dd></div>
<div><dt>Other processes</dt><dd>${number(shown.length - workers.length)}</dd></div>
<div><dt>Runs that execute</dt><dd>${number(running)} <span>of ${number(slots)} slots</span></dd></div>
<div><dt>Stuck</dt><dd class="${stuck.length > 0 ? 'trouble' : ''}">${number(stuck.length)}</dd></div>
</dl></section>
${workers.length === 0 && html`<p class="note bad" role="note">No worker is alive: nothing runs. Start one with <code>rondo worker</code>.</p>`}
${stuck.length > 0 && stuckTable(stuck, viewer)}
${unreadable.length > 0 && html`<p class="note bad" role="note">What these processes tell makes no sense to this release: ${unreadable.join(', ')}</p>`}
${shown.map((process) => processCard(process, viewer))}
${left > 0 && html`<p class="soft">${number(left)} more processes are alive.</p>`}`;
}

/** The page that asks once more. */
export function cancelForm(job: string, run: string): Html {
  return html`<section class="card action" data-form>
<h1>Cancel a run of ${job}</h1>
<form method="post" action="${cancelAddress(job, run)}">
<p>The run <b>${run}</b> ends: its signal aborts within a second, and it is not tried again.</p>
<p class="buttons"><button class="primary">Cancel the run</button> <a class="button" href="/workers" data-close>Leave it</a></p>
</form>
</section>`;
}

function cancelAddress(job: string, run: string): string {
  return `/workers/jobs/${encodeURIComponent(job)}/runs/${encodeURIComponent(run)}/cancel`;
}

interface Stuck {
  readonly process: ProcessView;
  readonly run: RunningView;
}

function stuckTable(stuck: readonly Stuck[], viewer: Viewer): Html {
  const longest = stuck.toSorted((a, b) => b.run.runningMs - a.run.runningMs);
  return html`<section class="card stuck"><h2>Stuck</h2><div class="scroll" tabindex="0" role="group" aria-label="Stuck runs"><table class="plain">
<thead><tr><th scope="col">Run</th><th scope="col">Running for</th><th scope="col">Why</th><th scope="col">On</th><th scope="col"><span class="hidden">Cancel</span></th></tr></thead>
<tbody>${longest.map(({ process, run }) => html`<tr>${runCells(run, process)}<td class="reason">${run.stuck}</td><td>${nameOf(process)}</td><td>${cancelLink(run, viewer)}</td></tr>\n`)}</tbody>
</table></div></section>`;
}

const tones: Record<ProcessState, string> = { working: 'good', stopping: 'calm', silent: 'warn' };

function processCard(process: ProcessView, viewer: Viewer): Html {
  const { roles, state, app, release, version, startedAt, seenAt, loopDelayMs, memory, clockAheadMs } = process;
  const startedByRedis = new Date(Date.parse(startedAt) - clockAheadMs).toISOString();
  const isSlow = loopDelayMs >= slowLoopMs;
  const isOff = Math.abs(clockAheadMs) >= clockOffMs;
  return html`<section class="card process">
<h2>${nameOf(process)} <span class="badge ${tones[state]}">${state}</span> <span class="soft">${roles.join(', ')}</span></h2>
<dl class="figures">
${roles.includes('worker') && html`<div><dt>Executes</dt><dd>${number(process.running)} <span>of ${number(slotsOf(process))}</span></dd></div>`}
<div><dt>Event-loop delay</dt><dd class="${isSlow ? 'trouble' : ''}">${briefly(loopDelayMs)}</dd></div>
<div><dt>Memory</dt><dd>${megabytes(memory.rss)} <span>heap ${megabytes(memory.heapUsed)}</span></dd></div>
<div><dt>App</dt><dd>${app} <span>${release}</span></dd></div>
<div><dt>Rondo</dt><dd>${version}</dd></div>
<div><dt>Up since</dt><dd><time datetime="${startedByRedis}">${shortTime(startedByRedis)}</time></dd></div>
${state === 'silent' && html`<div><dt>Last heard of</dt><dd class="trouble" data-in="${seenAt}">${shortTime(seenAt)}</dd></div>`}
${isOff && html`<div><dt>Its clock</dt><dd class="trouble">${briefly(Math.abs(clockAheadMs))} <span>${clockAheadMs > 0 ? 'ahead of' : 'behind'} Redis's</span></dd></div>`}
</dl>
${roles.includes('worker') && runsTable(process, viewer)}
${jobList(process, viewer)}
</section>`;
}

/** From so much on timers and answers suffer, in ms. */
const slowLoopMs = 100;
/** Ticks are claimed by the clocks of workers: so much is worth a word, in ms. */
const clockOffMs = 1_000;

function runsTable(process: ProcessView, viewer: Viewer): Html {
  const { runs, running } = process;
  if (runs.length === 0)
    return html`<p class="soft">${running > 0 ? 'Runs of other jobs execute.' : 'It waits for runs.'}</p>`;
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Runs on ${nameOf(process)}"><table class="plain">
<thead><tr><th scope="col">Run</th><th scope="col">Running for</th><th scope="col">Usually</th><th scope="col"><span class="hidden">Cancel</span></th></tr></thead>
<tbody>${runs.map((run) => html`<tr>${runCells(run, process)}<td class="number">${run.typicalMs === null ? '–' : briefly(run.typicalMs)}</td><td>${cancelLink(run, viewer)}</td></tr>\n`)}</tbody>
</table></div>${running > runs.length && html`<p class="soft">The oldest ${number(runs.length)} of ${number(running)}.</p>`}`;
}

function runCells({ job, run, schedule, tick, attempt, since }: RunningView, { clockAheadMs }: ProcessView): Html {
  const of =
    schedule !== null &&
    html`<span class="line">tick ${tick && shortTime(tick)} of <a href="${addressOf(schedule)}">${schedule}</a></span>`;
  // By Redis's clock, to the second, so that it stays the same from look to look.
  const begun = new Date(Math.round((Date.parse(since) - clockAheadMs) / 1_000) * 1_000).toISOString();
  return html`<th scope="row"><a href="${jobAddress(job)}">${job}</a> <a href="${runAddress(job, run)}">${run}</a>${attempt > 1 && html` <span class="tag">attempt ${attempt}</span>`}${of}</th>
<td class="number"><time datetime="${begun}" data-since="${begun}" title="since ${shortTime(begun)}">since ${shortTime(begun)}</time></td>`;
}

function cancelLink({ job, run }: RunningView, viewer: Viewer): Html | null {
  if (!viewer.mayCancel(job)) return null;
  return html`<a class="button" href="${cancelAddress(job, run)}" data-dialog aria-label="Cancel ${job} ${run}">Cancel</a>`;
}

function jobList({ id, jobs }: ProcessView, viewer: Viewer): Html | null {
  const mine = jobs.filter(({ name }) => viewer.mayUse(name));
  if (mine.length === 0) return null;
  return html`<details id="jobs-${id}"><summary>Takes runs of ${mine.length} ${mine.length === 1 ? 'job' : 'jobs'}</summary><ul>${mine.map(({ name, concurrency, timeoutMs }) => html`<li><a href="${jobAddress(name)}">${name}</a>: ${number(concurrency)} at once, each for ${briefly(timeoutMs)} at most</li>`)}</ul></details>`;
}

function nameOf({ host, pid }: ProcessView): string {
  return `${host} ${pid}`;
}

function slotsOf({ jobs }: ProcessView): number {
  return jobs.reduce((sum, { concurrency }) => sum + concurrency, 0);
}

function megabytes(bytes: number): string {
  return `${number(Math.round(bytes / 1e6))} MB`;
}

function number(value: number): string {
  return value.toLocaleString('en');
}
