import { formatDuration } from '../../../duration.js';
import { briefly } from '../../../jobs/words.js';
import type { JobDay, Shortfall } from '../../../producers/day.js';
import type { DayNow } from '../../../producers/read-day.js';
import { type Html, html } from '../html.js';
import { addressOf, jobAddress, shortTime } from '../schedules/parts.js';
import { clock, slotsChart, ticksChart, ticksLine } from './charts.js';

const mostJobs = 40;
const mostParts = 6;
const mostShort = 20;
const mostNamed = 10;

/** @param job the one that it is about; null for all */
export function dayPage(day: DayNow, job: string | null): Html {
  const { jobs } = day;
  const slots = sum(jobs.map((it) => it.slots ?? 0));
  const all = job !== null && html`<p class="crumbs"><a href="/day">The day of all jobs</a></p>`;
  if (jobs.every(({ total }) => total === 0)) {
    return html`${all}<div class="title"><h1>The day</h1></div>${notes(day)}<p class="empty">No schedule${job && html` of ${job}`} has a tick in these two days.</p>`;
  }
  return html`${all}<div class="title"><h1>The day${job && html` of ${job}`}</h1><p class="soft">as of ${shortTime(day.now)}, times in UTC</p></div>
${notes(day)}
${shortfallCard(day)}
<section class="card"><h2>Ticks, the last and the next 24 hours</h2><figure class="plot">${ticksChart(day)}
<figcaption>Due in each ten minutes, by the times that the schedules have now; the line is now.</figcaption></figure></section>
<section class="card"><h2>Slots, the next 24 hours</h2><figure class="plot">${slotsChart(day, slots)}
<figcaption>How many runs of schedules execute at once at most, by what the last ones took: red where some of them start late; dashed, the ${number(slots)} slots that the workers alive have for these jobs. Runs that come otherwise are not in it.</figcaption></figure></section>
<section class="card"><h2>The busiest to come</h2>${busiest(day)}</section>
<section class="card"><h2>By job</h2>${jobTable(day)}</section>`;
}

function notes(day: DayNow): Html {
  const abandoned = day.jobs.filter(({ slots, ticks }) => slots === null && sum(ticks.slice(day.current)) > 0);
  const uncounted = day.jobs.flatMap((it) => it.uncounted);
  return html`${day.workers === 0 && html`<p class="note bad" role="note">No worker is alive: there are no slots at all.</p>`}
${day.workers > 0 && abandoned.length > 0 && html`<p class="note bad" role="note">No worker takes runs of ${named(abandoned.map(({ job }) => job))}.</p>`}
${uncounted.length > 0 && html`<p class="note" role="note">Not all ticks of these can be counted: ${named(uncounted)}.</p>`}
${day.unreadable.length > 0 && html`<p class="note bad" role="note">The entries of these make no sense to this release: ${named(day.unreadable)}.</p>`}`;
}

function shortfallCard(day: DayNow): Html {
  if (day.shortfalls.length === 0) {
    return html`<p class="note good" role="note">The workers that are alive will do: no run of a measured schedule is to start a minute late or more.</p>`;
  }
  const jobs = byJob(day.shortfalls);
  const shown = jobs.slice(0, mostShort).map(shortfallItem);
  const left = jobs.length - shown.length;
  return html`<section class="card stuck"><h2>Where the workers will not do</h2><ul class="shortfalls">${shown}</ul>${left > 0 && html`<p class="soft">And ${number(left)} more jobs, whose runs are less late.</p>`}</section>`;
}

/** Of each job, the one that is late most first. */
function byJob(shortfalls: readonly Shortfall[]): Shortfall[][] {
  const jobs = new Map<string, Shortfall[]>();
  for (const it of shortfalls) jobs.set(it.job, [...(jobs.get(it.job) ?? []), it]);
  return [...jobs.values()];
}

/** One that comes back every hour is said once. */
function shortfallItem(ofJob: readonly Shortfall[]): Html | null {
  const [worst] = ofJob;
  if (!worst) return null;
  const { job, from, to, wanted, slots, lateMs, schedules, more, spreadMs } = worst;
  const links = schedules.map(
    ({ id, ticks }, index) => html`${index > 0 && ', '}<a href="${addressOf(id)}">${id}</a> (${number(ticks)})`,
  );
  const end = to === null ? html`, beyond the next 24 hours` : html` until ${shortTime(to)}`;
  return html`<li><p><a href="/day?job=${encodeURIComponent(job)}"><b>${job}</b></a> from ${shortTime(from)}${end}: ${number(wanted)} runs want to execute at once, and it has ${number(slots)} ${slots === 1 ? 'slot' : 'slots'}. The last begin <b>${briefly(lateMs)} late</b>.${ofJob.length > 1 && html` ${timesInWords(ofJob)}`}</p>
<p class="line">Spread ${links}${more > 0 && html` and ${number(more)} more`} over ${formatDuration(spreadMs)}, or start more workers.</p></li>`;
}

function timesInWords(ofJob: readonly Shortfall[]): string {
  const starts = ofJob.map(({ from }) => from).sort();
  return `It is the worst of ${ofJob.length} such times, the last from ${shortTime(starts.at(-1) ?? '')}.`;
}

/** The ten minutes in which most is due. */
function busiest(day: DayNow): Html {
  const parts = (day.jobs[0]?.ticks ?? [])
    .map((_, part) => ({ part, count: sum(day.jobs.map(({ ticks }) => ticks[part] ?? 0)) }))
    .slice(day.current)
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count || a.part - b.part)
    .slice(0, mostParts);
  if (parts.length === 0) return html`<p class="soft">Nothing is due any more.</p>`;
  const rows = parts.map(({ part, count }) => {
    const most = day.jobs
      .map(({ job, ticks }) => ({ job, count: ticks[part] ?? 0 }))
      .filter((it) => it.count > 0)
      .sort((a, b) => b.count - a.count)
      .slice(0, 3);
    return html`<tr><th scope="row">${clock(day, part)}</th><td class="number">${number(count)}</td><td>${most.map((it) => `${it.job} ${number(it.count)}`).join(', ')}</td></tr>`;
  });
  return html`<div class="scroll" tabindex="0" role="group" aria-label="The busiest to come"><table class="plain"><thead><tr><th scope="col">From</th><th scope="col">Ticks in ten minutes</th><th scope="col">Most of them</th></tr></thead><tbody>${rows}</tbody></table></div>`;
}

function jobTable(day: DayNow): Html {
  const shown = day.jobs.filter(({ total }) => total > 0);
  const rows = shown.slice(0, mostJobs).map((it) => jobRow(it, day));
  const more = shown.length - mostJobs;
  return html`<div class="scroll" tabindex="0" role="group" aria-label="By job"><table class="plain">
<thead><tr><th scope="col">Job</th><th scope="col">When it ticks</th><th scope="col">Schedules</th><th scope="col">Ticks to come</th><th scope="col">Slots wanted</th><th scope="col">Slots</th></tr></thead>
<tbody>${rows}</tbody></table></div>${more > 0 && html`<p class="soft">${number(more)} more jobs have fewer ticks.</p>`}`;
}

function jobRow(it: JobDay, day: DayNow): Html {
  const { job, schedules, ticks, slots, wanted, unmeasured } = it;
  const most = Math.max(0, ...wanted);
  const at = most > 0 && html` <span class="soft">at ${clock(day, wanted.indexOf(most))}</span>`;
  return html`<tr><th scope="row"><a href="/day?job=${encodeURIComponent(job)}">${job}</a> <a class="line" href="${jobAddress(job)}">On the board</a></th>
<td>${ticksLine(it, day)}</td>
<td class="number">${number(schedules)}</td><td class="number">${number(sum(ticks.slice(day.current)))}</td>
<td class="number">${most === 0 && unmeasured > 0 ? '–' : most < 0.05 && most > 0 ? 'under 0.1' : number(most)}${at}${unmeasured > 0 && html`<span class="line">${number(unmeasured)} not measured yet</span>`}</td>
<td class="number">${slots === null ? html`<span class="matter">no worker</span>` : number(slots)}</td></tr>`;
}

function named(names: readonly string[]): string {
  const rest = names.length - mostNamed;
  return names.slice(0, mostNamed).join(', ') + (rest > 0 ? ` and ${number(rest)} more` : '');
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

function number(value: number): string {
  return value.toLocaleString('en', { maximumFractionDigits: 1 });
}
