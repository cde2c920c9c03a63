import { NonRetryableError } from '../../../errors.js';
import { numberOf, valueIn } from './conditions.js';
import type { Measure } from './payload.js';
import type { Row } from './read-rows.js';
import { BadRow } from './rejects.js';
import { textOfValue } from './write-rows.js';

const mostGroups = 100_000;
/** Of all values that groups hold on to, in characters: those that they are grouped by, least and greatest ones. */
const mostText = 16_000_000;

export interface Groups {
  /** Nothing comes of a row by itself. @throws BadRow where a value is none that can be added up; NonRetryableError where memory would not do */
  add(row: Row): null;
  /** In the order in which they first came. */
  results(): Generator<Row>;
}

/** What is known of one measure so far, group by group. Lists of numbers take a third of what objects would. */
interface Column {
  readonly count: number[];
  readonly sum: number[];
  /** What rounding has taken from the sum so far (Neumaier's): ten times 0.1 is 1. */
  readonly lost: number[];
  /** The least, or the greatest, as it came. */
  readonly extreme: unknown[];
}

/** Groups rows by fields and computes a few values of each. Memory goes by the groups, which are bounded, not the rows. */
export function createGroups(groupBy: readonly string[], compute: Readonly<Record<string, Measure>>): Groups {
  const measures = Object.entries(compute);
  const columns = measures.map((): Column => ({ count: [], sum: [], lost: [], extreme: [] }));
  /** By the values that they are grouped by, in JSON, to their place in the columns. */
  const groups = new Map<string, number>();
  let text = 0;
  const hold = (characters: number) => {
    text += characters;
    if (text > mostText) {
      throw new NonRetryableError(`the values of the groups have more than ${mostText} characters, the limit`);
    }
  };
  const open = (key: string) => {
    if (groups.size >= mostGroups) {
      throw new NonRetryableError(`there are more than ${mostGroups} groups, the limit: group by fewer fields`);
    }
    hold(key.length);
    const group = groups.size;
    groups.set(key, group);
    for (const { count, sum, lost, extreme } of columns) {
      for (const numbers of [count, sum, lost]) numbers.push(0);
      extreme.push(undefined);
    }
    return group;
  };
  if (groupBy.length === 0) open('[]');
  return {
    add(row) {
      // All of them first: a row that is refused has to leave no trace.
      const numbers = measures.map(([, measure]) => numberFor(measure, row));
      const key = JSON.stringify(groupBy.map((field) => valueIn(row, field) ?? null));
      const group = groups.get(key) ?? open(key);
      measures.forEach(([, measure], index) => {
        hold(addTo(columns[index] as Column, group, measure, row, numbers[index] ?? 0));
      });
      return null;
    },
    *results() {
      for (const [key, group] of groups) {
        const values: unknown[] = JSON.parse(key);
        const grouped = groupBy.map((field, index) => [field, values[index]]);
        const computed = measures.map(([name, measure], index) => [
          name,
          resultOf(columns[index] as Column, group, measure),
        ]);
        yield Object.fromEntries([...grouped, ...computed]);
      }
    },
  };
}

function numberFor(measure: Measure, row: Row): number | null {
  if (measure.function !== 'sum' && measure.function !== 'average') return null;
  const value = valueIn(row, measure.field);
  const number = value === undefined ? null : numberOf(value);
  if (value !== undefined && number === null) throw new BadRow(`its field "${measure.field}" is no number`);
  return number;
}

/** A field without a value counts for nothing. @returns how many more characters the column holds on to */
function addTo(column: Column, group: number, measure: Measure, row: Row, number: number): number {
  const value = measure.field === undefined ? true : valueIn(row, measure.field);
  if (value === undefined) return 0;
  const count = at(column.count, group) + 1;
  column.count[group] = count;
  switch (measure.function) {
    case 'count':
      return 0;
    case 'sum':
    case 'average':
      addNumber(column, group, number);
      return 0;
    case 'min':
    case 'max': {
      const known = column.extreme[group];
      if (count > 1 && order(value, known) !== (measure.function === 'min' ? -1 : 1)) return 0;
      column.extreme[group] = value;
      return textOfValue(value).length - textOfValue(known).length;
    }
  }
}

function addNumber({ sum, lost }: Column, group: number, number: number): void {
  const before = at(sum, group);
  const after = before + number;
  const taken = Math.abs(before) >= Math.abs(number) ? before - after + number : number - after + before;
  sum[group] = after;
  lost[group] = at(lost, group) + taken;
}

const at = (numbers: readonly number[], group: number) => numbers[group] ?? 0;

/** Numbers go before all else, which goes by its text. */
function order(left: unknown, right: unknown): -1 | 0 | 1 {
  const [a, b] = [numberOf(left), numberOf(right)];
  if (a !== null && b !== null) return a < b ? -1 : a > b ? 1 : 0;
  if (a !== null || b !== null) return a !== null ? -1 : 1;
  const [before, after] = [textOfValue(left), textOfValue(right)];
  return before < after ? -1 : before > after ? 1 : 0;
}

function resultOf(column: Column, group: number, measure: Measure): unknown {
  const count = at(column.count, group);
  if (measure.function === 'count') return count;
  if (count === 0) return null;
  if (measure.function === 'min' || measure.function === 'max') return column.extreme[group];
  const sum = at(column.sum, group) + at(column.lost, group);
  return measure.function === 'sum' ? sum : sum / count;
}
