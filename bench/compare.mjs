import { rounds } from './quick.mjs';

/**
 * Measures every side in turn, round after round, so that what else the machine does meets all of them alike.
 * One round beforehand does not count.
 *
 * @param {Record<string, () => Promise<number>>} sides each answers one measurement
 * @param {number} times how many rounds
 */
export function alternate(sides, times) {
  return inRounds(async () => {
    const values = {};
    for (const [name, measure] of Object.entries(sides)) values[name] = await measure();
    return values;
  }, times);
}

/**
 * The same where the sides are measured together.
 *
 * @param {() => Promise<Record<string, number>>} measure answers one measurement of each side
 */
export async function inRounds(measure, times = 9) {
  const { counted, before } = rounds(times);
  const measured = [];
  for (let round = -before; round < counted; round++) {
    const values = await measure();
    if (round >= 0) measured.push(values);
  }
  const names = Object.keys(measured[0]);
  return quartilesOf(Object.fromEntries(names.map((name) => [name, measured.map((values) => values[name])])));
}

/** @param {Record<string, number[]>} measured */
export function quartilesOf(measured) {
  return Object.fromEntries(Object.entries(measured).map(([name, values]) => [name, quartiles(values)]));
}

/** Prints a table of medians with their quartiles, and the ratio of the first two sides. */
export function report(results, unit, digits = 0) {
  const names = Object.keys(results);
  const width = Math.max(...names.map((name) => name.length));
  for (const [name, { q1, median, q3 }] of Object.entries(results)) {
    const [low, middle, high] = [q1, median, q3].map((value) => format(value, digits));
    console.log(`${name.padEnd(width)}  ${middle} ${unit}  (quartiles ${low} to ${high})`);
  }
  if (names.length > 1) console.log(`ratio: ${(results[names[0]].median / results[names[1]].median).toFixed(2)}`);
}

function quartiles(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  return { q1: at(0.25), median: at(0.5), q3: at(0.75) };
}

const format = (value, digits) =>
  value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
