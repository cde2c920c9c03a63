import { briefly } from '../../../jobs/words.js';
import type { TickView } from '../../../producers/views.js';
import { type Html, html } from '../html.js';

type Outcome = TickView['outcome'];

/** One shape each, so that colour is not all that tells them apart: where it begins in a field of 10 by 20, and how it goes on. */
const shapes: Record<Outcome, readonly [x: number, y: number, path: string]> = {
  succeeded: [2, 5, 'h6v13h-6z'],
  failed: [2, 1, 'h6v11h-6zm0 13h6v5h-6z'],
  'timed-out': [1, 2, 'h8l-3 8 3 8h-8l3-8z'],
  cancelled: [2, 5, 'h6v13h-6zm2 2v9h2v-9z'],
  running: [2, 3, 'l7 8-7 8z'],
  waiting: [1, 11, 'a4 4 0 1 1 8 0a4 4 0 1 1-8 0zm2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0z'],
  skipped: [1, 14, 'h8v3h-8z'],
  coalesced: [5, 9, 'l4 4.5-4 4.5-4-4.5z'],
  missed: [1, 6, 'l2-2 2 4 2-4 2 2-2.500 5 2.500 5-2 2-2-4-2 4-2-2 2.500-5z'],
  paused: [1.5, 6, 'h2.500v12h-2.500zm4.500 0h2.500v12h-2.500z'],
  unknown: [5, 4, 'l4 7-4 7-4-7zm0 4l-2 3 2 3 2-3z'],
  excluded: [3, 14, 'a2 2 0 1 1 4 0a2 2 0 1 1-4 0z'],
};

/** How many ticks a strip has room for. */
export const stripLength = 50;

/** The newest ticks as a row of shapes, the latest at the right. A click on one opens it. */
export function strip(id: string, ticks: readonly TickView[]): Html {
  const shown = ticks.slice(-stripLength);
  if (shown.length === 0) return html`<span class="soft">none yet</span>`;
  const first = stripLength - shown.length;
  const marks = shown.map((tick, index) => {
    const [x, y, path] = shapes[tick.outcome];
    const d = `M${(first + index) * 10 + x} ${y}${path}`;
    return html`<path class="o-${tick.outcome}" d="${d}"><title>${titleOf(tick)}</title></path>`;
  });
  const address = `/schedules/${encodeURIComponent(id)}`;
  return html`<a class="strip" href="${address}#ledger" data-ticks="${address}"><svg viewBox="0 0 500 20" preserveAspectRatio="none" role="img" aria-label="${summaryOf(shown)}">${marks}</svg></a>`;
}

/** An outcome as its shape and its name. */
export function outcomeMark(outcome: Outcome): Html {
  const [x, y, path] = shapes[outcome];
  return html`<span class="outcome"><svg class="glyph" viewBox="0 0 10 20" aria-hidden="true"><path class="o-${outcome}" d="M${x} ${y}${path}"/></svg>${outcome}</span>`;
}

/** What each shape means. */
export function legend(): Html {
  const outcomes = Object.keys(shapes) as Outcome[];
  return html`<details class="legend"><summary>What the marks mean</summary><p>${outcomes.map(outcomeMark)}</p></details>`;
}

/** The script of the page takes the tick's time from its beginning. */
function titleOf({ time, to, count, outcome, reason, durationMs, latenessMs }: TickView): string {
  const what = [
    count > 1 ? `${outcome}: ${count} ticks, to ${to}` : outcome,
    durationMs === null ? null : `took ${briefly(durationMs)}`,
    latenessMs === null || latenessMs < 1_000 ? null : `${briefly(latenessMs)} late`,
    reason,
  ];
  return `${time} ${what.filter(Boolean).join(', ')}`;
}

/** "Last 50 entries: 48 succeeded, 2 failed" */
function summaryOf(ticks: readonly TickView[]): string {
  const counts = new Map<Outcome, number>();
  for (const { outcome } of ticks) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([outcome, count]) => `${count} ${outcome}`);
  return `Last ${ticks.length === 1 ? 'entry' : `${ticks.length} entries`} of its ledger: ${parts.join(', ')}`;
}

/** What the runs of some ticks usually take, and how late they usually are, in ms; null where none tells. */
export function typical(ticks: readonly TickView[]) {
  return {
    durationMs: median(ticks.map(({ durationMs }) => durationMs)),
    latenessMs: median(ticks.map(({ latenessMs }) => latenessMs)),
  };
}

function median(given: readonly (number | null)[]): number | null {
  const values = given.filter((value) => value !== null).sort((a, b) => a - b);
  const middle = Math.floor(values.length / 2);
  const upper = values[middle];
  if (upper === undefined) return null;
  return values.length % 2 === 1 ? upper : (upper + (values[middle - 1] ?? upper)) / 2;
}
