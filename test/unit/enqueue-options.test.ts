import { expect, it } from 'vitest';
import { enqueueOptions } from '../../src/jobs/enqueue-options.js';

const now = Date.parse('2026-11-21T07:00:00Z');

it.each([
  ['an hour to go', { at: '2026-11-21T08:00:00Z', expiresIn: 60_000 }, { delay: 3_600_000, expiresIn: 60_000 }],
  ['due now', { at: '2026-11-21T07:00:00Z', expiresIn: 60_000 }, { expiresIn: 60_000 }],
  ['late, with time left', { at: '2026-11-21T06:59:50Z', expiresIn: 60_000 }, { expiresIn: 50_000 }],
  ['expired already', { at: '2026-11-21T06:58:00Z', expiresIn: 60_000 }, { expiresIn: -60_000 }],
  ['late, and never too late', { at: '2026-11-21T06:58:00Z' }, {}],
  ['a delay', { delay: 5_000, expiresIn: 60_000 }, { delay: 5_000, expiresIn: 60_000 }],
])('a run that is %s may start until `expiresIn` after it was due', (_which, fields, options) => {
  expect(enqueueOptions(fields, now)).toEqual({ options });
});
