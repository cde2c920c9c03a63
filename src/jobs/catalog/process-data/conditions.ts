import type { Condition } from './payload.js';
import type { Row } from './read-rows.js';

type Scalar = string | number | boolean;

/** Whether a row passes all conditions. What a condition compares with decides how: a number as numbers, text as text. */
export function createFilter(conditions: readonly Condition[]): (row: Row) => boolean {
  const tests = conditions.map((condition) => ({ field: condition.field, holds: testOf(condition) }));
  return (row) => tests.every(({ field, holds }) => holds(valueIn(row, field)));
}

/** Of a row's own fields alone; undefined for what has no value: missing, null, or empty. */
export function valueIn(row: Row, field: string): unknown {
  const value = Object.hasOwn(row, field) ? row[field] : undefined;
  return value === null || value === '' ? undefined : value;
}

/** More characters than this are no number. */
const longestNumber = 1_000;

/** What a value is as a number; null where it is none. Text counts as it is written in JSON and CSV: 12, -0.5, 1e3. */
export function numberOf(value: unknown): number | null {
  if (typeof value === 'number') return value;
  if (typeof value !== 'string' || value.length > longestNumber) return null;
  if (!/^\s*[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?\s*$/i.test(value)) return null;
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
}

function testOf(condition: Condition): (value: unknown) => boolean {
  switch (condition.is) {
    case 'exists':
      return (value) => (value !== undefined) === condition.value;
    case 'in': {
      const { value: allowed } = condition;
      return (value) => allowed.some((one) => compare(value, one) === 0);
    }
    default: {
      const { value: with_, is } = condition;
      const accepts = orders[is];
      return (value) => accepts(compare(value, with_));
    }
  }
}

/** What an order has to be for each word; NaN is that of what cannot be compared. */
const orders = {
  eq: (order: number) => order === 0,
  ne: (order: number) => order !== 0,
  lt: (order: number) => order < 0,
  lte: (order: number) => order <= 0,
  gt: (order: number) => order > 0,
  gte: (order: number) => order >= 0,
};

/** Less than 0, 0, more than 0, or NaN. Text goes by its UTF-16 units, as ISO dates sort. */
function compare(value: unknown, with_: Scalar): number {
  if (value === undefined || typeof value === 'object') return Number.NaN;
  if (typeof with_ === 'number') return (numberOf(value) ?? Number.NaN) - with_;
  const [left, right] = [String(value), String(with_)];
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
