import { z } from 'zod';
import type { BackfillView } from '../../../producers/backfill-views.js';
import type { PreviewView } from '../../../producers/preview-view.js';
import type { RunView } from '../../../producers/run-view.js';
import { type ScheduleDetails, type TickView, tickOutcomes } from '../../../producers/views.js';
import { type Html, html } from '../html.js';
import {
  addressOf,
  brieflyOr,
  countdown,
  healthBadge,
  jobAddress,
  pauseWords,
  runAddress,
  shortTime,
} from './parts.js';
import { durationsPlot } from './plot.js';
import { outcomeMark, strip, stripLength, typical } from './ticks.js';

export const perPage = 25;

const moment = z.iso
  .datetime({ offset: true, error: 'an ISO time with a zone, such as "2026-11-21T07:00:00Z"' })
  .transform((text) => new Date(text).getTime());

export const detailQuery = z.strictObject({
  /** The ledger up to this tick, which is marked. */
  at: moment.optional(),
  /** The ledger before this tick. */
  before: moment.optional(),
  outcome: z
    .union([z.enum(tickOutcomes), z.literal('')], { error: `one of ${tickOutcomes.join(', ')}` })
    .default('')
    .transform((given) => given || null),
  /** What has just been done here, and the run that it started. */
  did: z.enum(['pause', 'resume', 'trigger', 'backfill', 'cancel-backfill', 'nothing']).optional(),
  run: z.string().max(200).optional(),
  parts: z.string().optional(),
});

export type DetailQuery = z.output<typeof detailQuery>;

/** What is shown of a schedule; a part that was not read is not there. */
export interface Detail {
  readonly view: ScheduleDetails;
  readonly page: { readonly ticks: readonly TickView[]; readonly knownFrom: string | null };
  readonly preview: PreviewView | { readonly trouble: string };
  readonly backfills: readonly BackfillView[];
  /** The run that was triggered from here; null where it is gone again. */
  readonly run: RunView | null | undefined;
  readonly mayOperate: boolean;
}

/** The parts of the page that change, by name. */
export const parts = {
  status: ({ view }: Detail) => status(view),
  actions: ({ view, mayOperate, backfills }: Detail) => actions(view, mayOperate, backfills),
  run: ({ run }: Detail, query: DetailQuery) => triggered(run, query.run),
  recent: ({ view }: Detail) => recent(view),
  ledger: ({ view, page }: Detail, query: DetailQuery) => ledger(view, page, query),
  upcoming: ({ view, preview }: Detail) => upcoming(view, preview),
  backfills: ({ backfills }: Detail) => backfillList(backfills),
} satisfies Record<string, (detail: Detail, query: DetailQuery) => Html>;

export type PartName = keyof typeof parts;

function status(view: ScheduleDetails): Html {
  const { next, why, pause, runs, ledger: stands } = view;
  const { durationMs, latenessMs } = typical(view.ticks.slice(-stripLength));
  const figure = (name: string, value: Html | string) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  return html`<p>${healthBadge(view)} ${pause ? pauseWords(pause) : why}</p>
<dl class="figures">
${figure('Next (UTC)', next ? countdown(next) : 'none')}
${figure('Usually takes', brieflyOr(durationMs))}
${figure('Usually late by', brieflyOr(latenessMs))}
${figure('Runs of its ticks', runs.toLocaleString('en'))}
${figure('Accounted for up to', stands ? shortTime(stands.at) : 'it has no ledger yet')}
</dl>`;
}

function actions({ id, pause }: ScheduleDetails, mayOperate: boolean, backfills: readonly BackfillView[]): Html {
  if (!mayOperate) return html`<p class="soft">This key may look, and not operate.</p>`;
  const action = (name: string, label: string) =>
    html`<a class="button" href="${addressOf(id)}/${name}" data-dialog>${label}</a>`;
  const isUnderWay = backfills.some(({ state }) => ['feeding', 'fed', 'stopped'].includes(state));
  return html`${action('trigger', 'Trigger')}${action('pause', pause ? 'Change the pause' : 'Pause')}${pause && action('resume', 'Resume')}${action('backfill', 'Backfill')}${isUnderWay && action('cancel-backfill', 'Cancel the backfill')}`;
}

function triggered(run: RunView | null | undefined, id: string | undefined): Html {
  if (run === undefined) return html``;
  if (run === null)
    return html`<p class="note">The run ${id} is gone: its job keeps none that has ended so long ago, or it never was.</p>`;
  const took = run.startedAt && run.finishedAt ? Date.parse(run.finishedAt) - Date.parse(run.startedAt) : null;
  return html`<p class="note ${run.state === 'failed' && 'bad'}">Run <a href="${runAddress(run.job, run.id)}">${run.id}</a>: <b>${run.state}</b>${took !== null && html`, took ${brieflyOr(took)}`}${run.error && html`: ${run.error}`}. It is no tick, and so is not in the ledger.</p>`;
}

function recent({ id, ticks }: ScheduleDetails): Html {
  return html`<p class="wide-strip">${strip(id, ticks)}</p>${durationsPlot(ticks)}`;
}

function ledger(view: ScheduleDetails, { ticks, knownFrom }: Detail['page'], query: DetailQuery): Html {
  const address = addressOf(view.id);
  const options = ['', ...tickOutcomes].map(
    (name) =>
      html`<option value="${name}"${name === (query.outcome ?? '') && html` selected`}>${name || 'all outcomes'}</option>`,
  );
  const oldest = ticks[0];
  const outcome = query.outcome ? `&outcome=${query.outcome}` : '';
  const older =
    ticks.length >= perPage && oldest && `${address}?before=${encodeURIComponent(oldest.time)}${outcome}#ledger`;
  const isPaged = query.at !== undefined || query.before !== undefined;
  return html`<form class="search" action="${address}#ledger"><label>Show <select name="outcome">${options}</select></label><button>Show</button></form>
${ticks.length === 0 ? html`<p class="empty">No entry${query.outcome && ` with ${query.outcome}`}${isPaged && ' so long ago'}.</p>` : ledgerTable(view, ticks, query)}
<nav class="pager" aria-label="Pages of the ledger">${isPaged ? html`<a href="${address}#ledger">Newest</a>` : ''}${older ? html`<a href="${older}">Older →</a>` : html`<span class="soft">${knownFrom && `Known from ${shortTime(knownFrom)}`}</span>`}</nav>
${view.unreadable > 0 && html`<p class="note bad">${view.unreadable} of its entries make no sense to this release.</p>`}`;
}

function ledgerTable({ job }: ScheduleDetails, ticks: readonly TickView[], { at }: DetailQuery): Html {
  const isMarked = (tick: TickView) =>
    at !== undefined && Date.parse(tick.time) <= at && at <= Date.parse(tick.to ?? tick.time);
  const row = (tick: TickView) => html`<tr${isMarked(tick) && html` class="marked" aria-current="true"`}>
<th scope="row">${shortTime(tick.time)}${tick.count > 1 && html`<span class="line">to ${shortTime(tick.to ?? tick.time)}: ${tick.count} ticks</span>`}</th>
<td>${outcomeMark(tick.outcome)}</td><td class="reason">${tick.reason}</td>
<td class="number">${brieflyOr(tick.latenessMs)}</td><td class="number">${brieflyOr(tick.durationMs)}</td><td class="number">${tick.attempts ?? '–'}</td>
<td>${tick.run && html`<a href="${runAddress(job, tick.run)}" aria-label="Run of ${shortTime(tick.time)}, on the board">run</a>`}</td></tr>\n`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Ledger"><table class="plain">
<thead><tr><th scope="col">Tick (UTC)</th><th scope="col">Outcome</th><th scope="col">Reason</th><th scope="col">Late by</th><th scope="col">Took</th><th scope="col">Tries</th><th scope="col">Run</th></tr></thead>
<tbody>${ticks.toReversed().map(row)}</tbody></table></div>`;
}

function upcoming({ pause, enabled }: ScheduleDetails, preview: Detail['preview']): Html {
  if ('trouble' in preview) return html`<p class="note">${preview.trouble}</p>`;
  const rows = [
    ...preview.times.map((time) => ({ ...time, kind: 'due' as const, to: time.time, count: 1 })),
    ...preview.left.map((left) => ({ ...left, due: null })),
  ].sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
  const paused = pause && html`<p class="soft">It is paused: what falls into the pause does not run.</p>`;
  const disabled = !enabled && html`<p class="soft">It is disabled: none of these runs.</p>`;
  if (rows.length === 0) return html`<p class="empty">It has no further time.</p>`;
  return html`${paused}${disabled}<ol class="times">${rows.map(
    ({ kind, time, to, due, local, note }) =>
      html`<li class="${kind}"><span class="when">${kind === 'due' ? '' : html`<s>`}${shortTime(time)}${to !== time && html` to ${shortTime(to)}`}${kind === 'due' ? '' : html`</s>`}</span>${local && html` <span class="soft">${local}</span>`}${due && due !== time && html` <span class="soft">due ${shortTime(due)}</span>`}${note && html` <span class="tag ${kind === 'due' ? 'warn' : 'calm'}">${note}</span>`}</li>\n`,
  )}</ol>`;
}

function backfillList(backfills: readonly BackfillView[]): Html {
  if (backfills.length === 0) return html`<p class="soft">None.</p>`;
  const rows = backfills.map(
    ({ from, to, state, count, added, started, by, createdAt }) =>
      html`<li><b>${state}</b>: ${shortTime(from)} to ${shortTime(to)}, ${count} ticks, ${added} added, ${started} begun <span class="soft">by ${by}, ${shortTime(createdAt)}</span></li>\n`,
  );
  return html`<ul class="backfills">${rows}</ul>`;
}

/** The title and where it leads, before what changes. */
export function heading({ id, job, description, words }: ScheduleDetails): Html {
  return html`<p class="crumbs"><a href="/schedules">Schedules</a></p>
<div class="title"><h1>${id}</h1><p class="live" role="status" data-live-state></p></div>
<p class="lead">${description && html`${description}. `}${words}, by the job <a href="${jobAddress(job)}">${job}</a>.</p>`;
}
