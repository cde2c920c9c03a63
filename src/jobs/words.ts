import cronstrue from 'cronstrue';
import { formatDuration } from '../duration.js';
import type { Timing } from './schedule.js';

/** When a schedule runs, as one would say it: "At 07:00, Monday through Friday (Europe/Paris)". */
export function inWords(timing: Timing): string {
  switch (timing.kind) {
    case 'cron':
      return timing.timezone === 'UTC' ? cronInWords(timing.cron) : `${cronInWords(timing.cron)} (${timing.timezone})`;
    case 'every':
      return `Every ${formatDuration(timing.every)}`;
    case 'at':
      return `Once, at ${new Date(timing.at).toISOString()}`;
    case 'next':
      return 'Computed by code';
  }
}

/** Croner reads a few patterns that have no words. */
function cronInWords(cron: string): string {
  try {
    return cronstrue.toString(cron, { use24HourTimeFormat: true });
  } catch {
    return cron;
  }
}
