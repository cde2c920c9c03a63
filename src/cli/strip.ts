import type { TickOutcome } from '../broker/tick-entry.js';
import type { TickView } from '../producers/views.js';

/**
 * The newest ticks as one character each, oldest first, and what the characters mean. Of a range of many, one
 * character and how often: `....p×3600..`.
 */
export function strip(ticks: readonly TickView[], colours: boolean): { line: string; legend: string } {
  const paint = (outcome: TickOutcome, text: string) => {
    const [, colour] = signs[outcome];
    return colours ? `\u001b[${colour}m${text}\u001b[0m` : text;
  };
  const line = ticks.map(({ outcome, count }) => {
    const [sign] = signs[outcome];
    return paint(outcome, count > 3 ? ` ${sign}×${count} ` : sign.repeat(count));
  });
  const seen = new Set(ticks.map(({ outcome }) => outcome));
  const legend = [...seen].map((outcome) => `${paint(outcome, signs[outcome][0])} ${outcome}`);
  return { line: line.join('').replaceAll('  ', ' ').trim(), legend: legend.join('   ') };
}

const [green, red, yellow, cyan, grey] = [32, 31, 33, 36, 90];

/** Capitals are for what went wrong, small letters for what was not to run. */
const signs: Record<TickOutcome, readonly [sign: string, colour: number]> = {
  succeeded: ['.', green],
  waiting: ['w', cyan],
  running: ['>', cyan],
  failed: ['F', red],
  'timed-out': ['T', red],
  missed: ['M', red],
  unknown: ['?', red],
  cancelled: ['x', yellow],
  skipped: ['s', yellow],
  coalesced: ['c', yellow],
  paused: ['p', grey],
  excluded: ['e', grey],
};
