import { z } from 'zod';
import type { OverviewPage, OverviewRow, OverviewSort } from '../../../producers/overview.js';
import { failures, overviewSorts } from '../../../producers/overview.js';
import { healths } from '../../../producers/views.js';
import { type Html, html } from '../html.js';
import { liveAttributes } from '../live.js';
import { addressOf, brieflyOr, countdown, healthBadge, jobAddress, pauseWords } from './parts.js';
import { legend, strip, typical } from './ticks.js';

export const perPage = 50;

const health = z.union([z.enum(healths), z.enum(['trouble', ''])], {
  error: `one of trouble, ${healths.join(', ')}`,
});

export const listQuery = z.strictObject({
  q: z.string().max(200).default(''),
  health: health.default('').transform((given) => given || null),
  job: z
    .string()
    .max(200)
    .default('')
    .transform((given) => given || null),
  sort: z.enum(overviewSorts).default('trouble'),
  page: z.coerce.number().int().min(1).max(1_000_000).default(1),
  /** Of the stream that keeps the page up to date. */
  parts: z.string().optional(),
});

export type ListQuery = z.output<typeof listQuery>;

/** The overview of all schedules: those that want somebody to look come first. */
export function listPage(query: ListQuery, found: OverviewPage): Html {
  const counts = chips(query, found);
  const changed = changedNote(query, false);
  return html`<div class="title"><h1>Schedules</h1><p class="live" role="status" data-live-state></p></div>
<ul class="chips" aria-label="Filter by health" ${liveAttributes(listParts.chips, counts)}>${counts}</ul>
${searchForm(query)}
${unreadableNote(found.unreadable)}
<div aria-live="polite" ${liveAttributes(listParts.changed, changed)}>${changed}</div>
${found.rows.length === 0 ? nothing(query) : html`${table(query, found.rows)}${pager(query, found)}${legend()}`}`;
}

/** The parts of the page beside its rows, which go by their ids: no schedule can have such a one. */
export const listParts = { chips: ':chips', changed: ':changed' } as const;

/** What a row of the list shows; the same for the page and for its changes. */
export function rowContent({ view, recent }: OverviewRow): Html {
  const { id, job, description, words, next, health, why, pause } = view;
  const { durationMs, latenessMs } = typical(recent);
  const matter = pause ? pauseWords(pause) : (why ?? lastTrouble(view));
  return html`<td class="c-health">${healthBadge({ health })}</td>
<th scope="row" class="c-name"><a href="${addressOf(id)}">${id}</a>${description && html`<span class="line">${description}</span>`}${matter && html`<span class="line matter">${matter}</span>`}</th>
<td class="c-job"><a href="${jobAddress(job)}" title="On the board">${job}</a><span class="line">${words}</span></td>
<td class="c-next">${next ? countdown(next) : html`<span class="soft">none</span>`}</td>
<td class="c-strip">${strip(id, recent)}</td>
<td class="c-typical"><span class="only-narrow">takes </span>${brieflyOr(durationMs)}</td>
<td class="c-typical"><span class="only-narrow">late by </span>${brieflyOr(latenessMs)}</td>`;
}

/** The row of one that the list had and has no more. */
export function goneRow(id: string): Html {
  return html`<td class="c-health"><span class="badge calm">gone</span></td>
<th scope="row" class="c-name">${id}<span class="line matter">It was removed, or cannot be read any more</span></th>
<td class="c-next" colspan="5"></td>`;
}

/** Says that the page would show other schedules now. */
export function changedNote(query: ListQuery, isChanged: boolean): Html {
  if (!isChanged) return html``;
  return html`<p class="note">The list has changed: <a href="${listAddress(query)}">show it</a></p>`;
}

/** What went wrong last, of one that runs on all the same. */
function lastTrouble({ health, last }: OverviewRow['view']): string | null {
  if (health !== 'sound' || !last || !failures.includes(last.outcome)) return null;
  return `its last tick: ${last.outcome}${last.reason ? `, ${last.reason}` : ''}`;
}

function table(query: ListQuery, rows: readonly OverviewRow[]): Html {
  const heading = (sort: OverviewSort | null, label: string, title = '') => {
    if (sort === null) return html`<th scope="col">${label}</th>`;
    const current =
      query.sort === sort &&
      html` aria-sort="${sort === 'trouble' || sort === 'lateness' ? 'descending' : 'ascending'}"`;
    return html`<th scope="col"${current}><a href="${listAddress(query, { sort, page: 1 })}" title="${title}">${label}</a></th>`;
  };
  return html`<table class="schedules">
<caption class="hidden">Schedules, times in UTC</caption>
<thead><tr>${heading('trouble', 'Health', 'What wants somebody to look first')}${heading('name', 'Schedule')}${heading(null, 'Job, and when')}${heading('next', 'Next (UTC)')}${heading('last', 'Last 50 ticks', 'Those first whose last tick went wrong')}${heading(null, 'Takes')}${heading('lateness', 'Late by', 'Those first that were latest')}</tr></thead>
<tbody>${rows.map((row) => {
    const content = rowContent(row);
    return html`<tr ${liveAttributes(row.view.id, content)}>${content}</tr>\n`;
  })}</tbody>
</table>`;
}

const shownHealths = ['trouble', ...[...healths].reverse()] as const;
const chipTones: Readonly<Record<string, string>> = { trouble: 'bad', broken: 'bad', late: 'warn', sound: 'good' };

/** How many there are of each health. */
export function chips(query: ListQuery, { counts }: Pick<OverviewPage, 'counts'>): Html {
  const total = healths.reduce((sum, name) => sum + (counts.get(name) ?? 0), 0);
  const chip = (name: ListQuery['health'], label: string, count: number) => {
    const current = query.health === name && html` aria-current="true"`;
    const address = listAddress(query, { health: name, page: 1 });
    return html`<li><a class="chip ${chipTones[name ?? ''] ?? 'calm'}" href="${address}"${current}>${label} <b>${count.toLocaleString('en')}</b></a></li>`;
  };
  const some = shownHealths.filter((name) => name === 'trouble' || name === query.health || counts.get(name));
  return html`${chip(null, 'all', total)}${some.map((name) => chip(name, name === 'trouble' ? 'need a look' : name, counts.get(name) ?? 0))}`;
}

const sortLabels: Record<OverviewSort, string> = {
  trouble: 'What needs a look first',
  name: 'Name',
  next: 'Next time',
  last: 'Last outcome',
  lateness: 'Lateness',
};

function searchForm({ q, health, job, sort }: ListQuery): Html {
  const options = overviewSorts.map(
    (name) => html`<option value="${name}"${name === sort && html` selected`}>${sortLabels[name]}</option>`,
  );
  return html`<form class="search" role="search" action="/schedules">
<label>Search <input type="search" name="q" value="${q}" placeholder="id, job or description" maxlength="200"></label>
<label>Order <select name="sort">${options}</select></label>
${health && html`<input type="hidden" name="health" value="${health}">`}${job && html`<input type="hidden" name="job" value="${job}">`}
<button>Show</button>
</form>`;
}

function unreadableNote(ids: readonly string[]): Html | null {
  if (ids.length === 0) return null;
  const shown = ids.slice(0, 10).join(', ') + (ids.length > 10 ? ', …' : '');
  return html`<p class="note bad" role="note">The entries of ${ids.length} in the store make no sense to this release: ${shown}</p>`;
}

function nothing({ q, health, job }: ListQuery): Html {
  if (q || health || job) return html`<p class="empty">No schedule fits. <a href="/schedules">Show all</a></p>`;
  return html`<p class="empty">There are no schedules yet. A job declares its own in code, or they are put at run time with <code>PUT /v1/schedules/{id}</code>; a producer must run.</p>`;
}

function pager(query: ListQuery, { page, pages, found }: OverviewPage): Html | null {
  if (pages === 1) return null;
  const link = (to: number, label: string, rel: string) =>
    to >= 1 && to <= pages
      ? html`<a href="${listAddress(query, { page: to })}" rel="${rel}">${label}</a>`
      : html`<span class="soft">${label}</span>`;
  const from = (page - 1) * perPage + 1;
  const range = `${from.toLocaleString('en')}–${Math.min(found, page * perPage).toLocaleString('en')} of ${found.toLocaleString('en')}`;
  return html`<nav class="pager" aria-label="Pages">${link(page - 1, '← Earlier', 'prev')}<span>${range}</span>${link(page + 1, 'Later →', 'next')}</nav>`;
}

/** The address of the list of a query, without what is so unless told. */
export function listAddress(query: ListQuery, change: Partial<ListQuery> = {}): string {
  const { parts: _, ...wanted } = { ...query, ...change };
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(wanted)) {
    const isUsual = (name === 'sort' && value === 'trouble') || (name === 'page' && value === 1);
    if (value !== null && value !== '' && !isUsual) parameters.set(name, String(value));
  }
  const text = parameters.toString();
  return text ? `/schedules?${text}` : '/schedules';
}
