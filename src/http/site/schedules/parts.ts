import { briefly } from '../../../jobs/words.js';
import type { Health, PauseView, ScheduleView } from '../../../producers/views.js';
import { type Html, html } from '../html.js';

/** `2026-11-22 07:00`, of an ISO time; with seconds where it has any. Always UTC. */
export function shortTime(iso: string): string {
  return iso.slice(0, 19).replace('T', ' ').replace(/:00$/, '');
}

/** A time, and beside it how long it is until then: the page's script counts it down. */
export function countdown(iso: string): Html {
  return html`<time datetime="${iso}">${shortTime(iso)}</time> <span class="soft" data-in="${iso}"></span>`;
}

const tones: Record<Health, string> = {
  'ledger unreadable': 'bad',
  broken: 'bad',
  late: 'warn',
  held: 'warn',
  sound: 'good',
  paused: 'calm',
  disabled: 'calm',
  ended: 'calm',
};

export function healthBadge({ health }: Pick<ScheduleView, 'health'>): Html {
  return html`<span class="badge ${tones[health]}">${health}</span>`;
}

/** "paused by ada since … until …: the printer is being moved" */
export function pauseWords({ since, until, by, note }: PauseView): Html {
  const end = until && html` until ${countdown(until)}`;
  return html`Paused by ${by} since ${shortTime(since)}${end}${note && `: ${note}`}`;
}

export function brieflyOr(ms: number | null): string {
  return ms === null ? '–' : briefly(ms);
}

export function addressOf(id: string): string {
  return `/schedules/${encodeURIComponent(id)}`;
}

export function jobAddress(job: string): string {
  return `/board/queue/${encodeURIComponent(job)}`;
}

export function runAddress(job: string, run: string): string {
  return `${jobAddress(job)}/${encodeURIComponent(run)}`;
}
