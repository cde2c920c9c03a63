import { briefly } from '../jobs/words.js';

/** Prints a result as JSON where that was asked for, else in the words of `text`. */
export function print(value: unknown, { json }: { json?: boolean }, text: () => string): void {
  console.log(json ? JSON.stringify(value, null, 2) : text());
}

/** Columns under their headings, without borders; what is missing is a dash. Ten thousand rows are no trouble. */
export function table(headings: readonly string[], rows: readonly (readonly unknown[])[], whenEmpty: string): string {
  if (rows.length === 0) return whenEmpty;
  const widths = headings.map((heading, column) => {
    let width = heading.length;
    for (const cells of rows) width = Math.max(width, textOf(cells[column]).length);
    return width;
  });
  return [headings.map((heading) => heading.toUpperCase()), ...rows].map((cells) => row(widths, cells)).join('\n');
}

/** One line of a table, its columns at given places; what is missing is a dash. */
export function row(widths: readonly number[], cells: readonly unknown[]): string {
  return cells
    .map((cell, column) => textOf(cell).padEnd(widths[column] ?? 0))
    .join('  ')
    .trimEnd();
}

/** One fact a line, names aligned; what is missing is left out. */
export function facts(entries: Record<string, unknown>): string {
  const shown = Object.entries(entries).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
}

/** A time as ISO and how far it is from now: `2026-11-21T07:00:00Z (in 4m)`; null where there is none. */
export function whenFromNow(iso: string | null, now = Date.now()): string | null {
  if (iso === null) return null;
  const ms = Date.parse(iso) - now;
  return `${iso} (${ms >= 0 ? `in ${briefly(ms)}` : `${briefly(-ms)} ago`})`;
}

function textOf(cell: unknown): string {
  return cell === null || cell === undefined ? '-' : String(cell).replaceAll('\n', ' ');
}
