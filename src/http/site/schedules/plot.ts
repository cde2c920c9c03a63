import { briefly } from '../../../jobs/words.js';
import type { TickView } from '../../../producers/views.js';
import { type Html, html } from '../html.js';
import { shortTime } from './parts.js';
import { typical } from './ticks.js';

/** How many runs it shows: the latest. */
const mostRuns = 120;
const height = 100;

/** How long the last runs took, a bar each, drawn here. */
export function durationsPlot(ticks: readonly TickView[]): Html {
  const runs = ticks.flatMap((tick) => (tick.durationMs === null ? [] : [{ ...tick, durationMs: tick.durationMs }]));
  const shown = runs.slice(-mostRuns);
  const [first, last] = [shown[0], shown.at(-1)];
  if (!first || !last) return html`<p class="soft">No run has ended yet.</p>`;
  const longest = Math.max(...shown.map(({ durationMs }) => durationMs));
  const top = niceTop(longest);
  const usual = typical(shown).durationMs ?? 0;
  const step = Math.max(5, Math.min(24, 720 / shown.length));
  const width = Math.round(step * shown.length);
  const bars = shown.map(({ time, durationMs, outcome, reason }, index) => {
    const size = Math.max(1, (durationMs / top) * height);
    const title = `${time} ${outcome}, took ${briefly(durationMs)}${reason ? `: ${reason}` : ''}`;
    return html`<rect class="o-${outcome}" x="${short(index * step + step * 0.12)}" y="${short(height - size)}" width="${short(step * 0.76)}" height="${short(size)}"><title>${title}</title></rect>`;
  });
  const at = short(height - (usual / top) * height);
  const name = `Durations of the last ${shown.length} runs: usually ${briefly(usual)}, at most ${briefly(longest)}`;
  return html`<figure class="plot">
<div class="scale" aria-hidden="true"><span>${briefly(top)}</span><span>${briefly(top / 2)}</span><span>0</span></div>
<svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label="${name}">
<path class="grid" d="M0 0.5H${width}M0 50H${width}M0 99.5H${width}"/>${bars}<path class="usual" d="M0 ${at}H${width}"/>
</svg>
<div class="ends" aria-hidden="true"><span>${shortTime(first.time)}</span><span>${shortTime(last.time)}</span></div>
<figcaption>The last ${shown.length} runs; half of them took less than ${briefly(usual)} (dashed), the longest ${briefly(longest)}.</figcaption>
</figure>`;
}

/** The next of 1, 2, 5, 10, … at or above; in whole seconds, minutes or hours where it is that long. */
function niceTop(ms: number): number {
  for (const unit of [3_600_000, 60_000, 1_000, 1]) {
    if (ms <= unit && unit > 1) continue;
    const steps = [1, 2, 4, 6, 10, 20, 30, 40, 60, 100, 200, 400, 600, 1_000];
    const count = steps.find((step) => step * unit >= ms);
    return (count ?? Math.ceil(ms / unit / 1_000) * 1_000) * unit;
  }
  return 1;
}

function short(value: number): string {
  return String(Math.round(value * 10) / 10);
}
