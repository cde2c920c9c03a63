import Table from 'cli-table3';

/** Prints a result as JSON where that was asked for, else in the words of `text`. */
export function print(value: unknown, { json }: { json?: boolean }, text: () => string): void {
  console.log(json ? JSON.stringify(value, null, 2) : text());
}

/** Columns under their headings, without borders; what is missing is a dash. */
export function table(headings: readonly string[], rows: readonly (readonly unknown[])[], whenEmpty: string): string {
  if (rows.length === 0) return whenEmpty;
  const made = new Table({
    head: headings.map((heading) => heading.toUpperCase()),
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    chars: noBorders,
  });
  for (const row of rows) made.push(row.map((cell) => (cell === null || cell === undefined ? '-' : String(cell))));
  return trimmed(made.toString());
}

/** One fact a line, names aligned; what is missing is left out. */
export function facts(entries: Record<string, unknown>): string {
  const shown = Object.entries(entries).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
}

/** A time in ms since the epoch, as ISO to the second; null where there is none. */
export function isoTime(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString().replace('.000Z', 'Z');
}

const noBorders = Object.fromEntries(
  [
    'top',
    'bottom',
    'left',
    'right',
    'mid',
    'top-mid',
    'top-left',
    'top-right',
    'bottom-mid',
    'bottom-left',
    'bottom-right',
    'left-mid',
    'mid-mid',
    'right-mid',
    'middle',
  ].map((part) => [part, '']),
);

const trimmed = (text: string) =>
  text
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
