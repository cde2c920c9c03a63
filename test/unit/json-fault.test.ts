import { expect, it } from 'vitest';
import { faultInJson } from '../../src/json-fault.js';

it.each([
  ['{"token":hunter2}', 'at line 1, column 10'],
  ['{"token":"hunter2"} x', 'at line 1, column 21'],
  ['{\n "a": tru,\n}', 'at line 2, column 10'],
  ['{\n "a": 1,\n}', 'at line 3, column 1'],
  ['{"a":"x\ty"}', 'at line 1, column 8'],
  ['{"a":"\\x"}', 'at line 1, column 8'],
  ['hunter2', 'at line 1, column 1'],
  ['[1, -]', 'at line 1, column 6'],
  ['{"a":1', 'at its end, which comes too early'],
  ['{"a', 'at its end, which comes too early'],
  ['', 'at its end, which comes too early'],
  ['"hunter2"', 'as a whole: an object or a list'],
  [`${'['.repeat(200_000)}x`, 'somewhere in it'],
])('tells where a text is no JSON, and none of it: %.20s', (text, where) => {
  expect(faultInJson(text)).toBe(where);
});
