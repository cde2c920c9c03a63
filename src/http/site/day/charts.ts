import type { Day, JobDay, Shortfall } from '../../../producers/day.js';
import { type Html, html } from '../html.js';

/** How many jobs have a colour of their own. */
const ownColours = 6;
const height = 100;

/** Ticks in each ten minutes, job upon job, as one drawing. */
export function ticksChart(day: Day): Html {
  const bands = bandsOf(day.jobs);
  const parts = bands[0]?.ticks.length ?? 0;
  const totals = Array.from({ length: parts }, (_, part) => sum(bands.map(({ ticks }) => ticks[part] ?? 0)));
  const top = niceTop(Math.max(1, ...totals));
  const base = new Float64Array(parts);
  const paths = bands.map(({ ticks }, index) => {
    const bars = ticks.map((count, part) => {
      const from = base[part] ?? 0;
      base[part] = from + count;
      return bar(part, (from / top) * height, ((from + count) / top) * height);
    });
    return html`<path class="b-${index}" d="${bars.join('')}"/>`;
  });
  const most = totals.indexOf(Math.max(...totals));
  const label = `Ticks in each ten minutes: ${number(totals[most] ?? 0)} at most, at ${clock(day, most)}`;
  const hints = totals.map((count, part) =>
    hint(part, `${clock(day, part)}: ${number(count)} ticks${ofBands(bands, part)}`),
  );
  const legend = bands.map(
    ({ job }, index) =>
      html`<li><svg viewBox="0 0 10 10" aria-hidden="true"><path class="b-${index}" d="M0 0h10v10H0z"/></svg>${job}</li>`,
  );
  return html`${chart({ parts, top, label, paths, hints, now: day.current })}
${ends(day, 0)}<ul class="legend">${legend}</ul>`;
}

/** Slots that are busy from now on, red where runs start late, and those there are. */
export function slotsChart(day: Day, slots: number): Html {
  const { current } = day;
  const parts = (day.jobs[0]?.busy.length ?? current) - current;
  const busy = Array.from({ length: parts }, (_, part) => sum(day.jobs.map((it) => it.busy[current + part] ?? 0)));
  const short = Array.from({ length: parts }, (_, part) =>
    day.shortfalls.some((it) => covers(it, day, current + part)),
  );
  const top = niceTop(Math.max(1, slots, ...busy));
  const bars = (late: boolean) =>
    busy.map((count, part) => (short[part] === late ? bar(part, 0, (count / top) * height) : ''));
  const paths = [
    html`<path class="b-0" d="${bars(false).join('')}"/>`,
    html`<path class="b-late" d="${bars(true).join('')}"/>`,
    html`<path class="usual" d="M0 ${round(height - (slots / top) * height)}H${parts * 4}"/>`,
  ];
  const label = `Busy slots to come: ${number(Math.max(0, ...busy))} at most, of ${number(slots)} that are alive`;
  const hints = busy.map((count, part) =>
    hint(
      part,
      `${clock(day, current + part)}: ${number(count)} of ${number(slots)} slots busy${short[part] ? ', runs start late' : ''}`,
    ),
  );
  return html`${chart({ parts, top, label, paths, hints, now: null })}${ends(day, current)}`;
}

/** When a job has how many of its ticks, in one line: the darker, the more. */
export function ticksLine({ job, ticks, total }: JobDay, { current }: Day): Html {
  const most = Math.max(1, ...ticks);
  const levels = [0.25, 0.5, 0.75, 1];
  const paths = levels.map((level, index) => {
    const lower = levels[index - 1] ?? 0;
    const cells = ticks.map((count, part) => {
      const share = count / most;
      return share > lower && share <= level ? `M${part * 4} 0h4v10h-4z` : '';
    });
    return html`<path class="h-${index + 1}" d="${cells.join('')}"/>`;
  });
  return html`<svg class="heat" viewBox="0 0 ${ticks.length * 4} 10" preserveAspectRatio="none" role="img" aria-label="${job}: ${number(total)} ticks">${paths}<path class="now" d="M${current * 4} 0V10"/></svg>`;
}

/** `15:20`, of a part; with its day where that is another than today. */
export function clock({ from, now, partMs }: Day, part: number): string {
  const iso = new Date(Date.parse(from) + part * partMs).toISOString();
  return iso.slice(0, 10) === now.slice(0, 10) ? iso.slice(11, 16) : `${iso.slice(5, 10)} ${iso.slice(11, 16)}`;
}

interface Band {
  readonly job: string;
  readonly ticks: readonly number[];
}

/** The jobs with most ticks, and all others together. */
function bandsOf(jobs: readonly JobDay[]): Band[] {
  const own = jobs.length > ownColours + 1 ? jobs.slice(0, ownColours) : jobs;
  const others = jobs.slice(own.length);
  if (others.length === 0) return [...own];
  const ticks = (own[0]?.ticks ?? []).map((_, part) => sum(others.map((it) => it.ticks[part] ?? 0)));
  return [...own, { job: `${others.length} others`, ticks }];
}

function ofBands(bands: readonly Band[], part: number): string {
  const some = bands.filter(({ ticks }) => (ticks[part] ?? 0) > 0);
  return some.length === 0 ? '' : ` (${some.map(({ job, ticks }) => `${job} ${number(ticks[part] ?? 0)}`).join(', ')})`;
}

interface Chart {
  readonly parts: number;
  readonly top: number;
  readonly label: string;
  readonly paths: readonly Html[];
  readonly hints: readonly Html[];
  readonly now: number | null;
}

function chart({ parts, top, label, paths, hints, now }: Chart): Html {
  const width = parts * 4;
  return html`<div class="scale" aria-hidden="true"><span>${number(top)}</span><span>${number(top / 2)}</span><span>0</span></div>
<svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label="${label}">
<path class="grid" d="M0 0.5H${width}M0 50H${width}M0 99.5H${width}"/>${paths}${now !== null && html`<path class="now" d="M${now * 4} 0V${height}"/>`}${hints}
</svg>`;
}

/** Times under a drawing, at even distances: from a part on to the last. */
function ends(day: Day, first: number): Html {
  const last = day.jobs[0]?.ticks.length ?? first;
  const steps = 4; // as many as a phone has room for
  const times = Array.from({ length: steps + 1 }, (_, step) =>
    clock(day, Math.round(first + ((last - 1 - first) * step) / steps)),
  );
  return html`<div class="ends" aria-hidden="true">${times.map((time) => html`<span>${time}</span>`)}</div>`;
}

function bar(part: number, from: number, to: number): string {
  if (to <= from) return '';
  return `M${part * 4} ${round(height - from)}V${round(height - to)}h3.6V${round(height - from)}z`;
}

function hint(part: number, text: string): Html {
  return html`<rect class="hint" x="${part * 4}" y="0" width="4" height="${height}"><title>${text}</title></rect>`;
}

function covers({ from, to }: Shortfall, day: Day, part: number): boolean {
  const start = Date.parse(day.from) + part * day.partMs;
  return Date.parse(from) < start + day.partMs && (to === null || Date.parse(to) > start);
}

function niceTop(value: number): number {
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * ([1, 2, 4, 6, 8, 10].find((step) => step * unit >= value) ?? 10);
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

function round(value: number): string {
  return String(Math.round(value * 100) / 100);
}

function number(value: number): string {
  return value.toLocaleString('en', { maximumFractionDigits: 1 });
}
