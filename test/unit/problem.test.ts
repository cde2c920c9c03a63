import { expect, it } from 'vitest';
import { inOurWords } from '../../src/http/problem.js';

it.each([
  // As ioredis makes it of a command that was on its way.
  Object.assign(new Error('Command aborted due to connection close'), { name: 'AbortError' }),
  new Error('Connection is closed.'),
  Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }),
])('is Redis that is away: %s', (error) => {
  expect(inOurWords(error)).toMatchObject({ code: 'redis-unreachable', status: 503, cause: error });
});

it.each([new DOMException('This operation was aborted', 'AbortError'), new TypeError('no')])(
  'is a fault of ours: %s',
  (error) => {
    expect(inOurWords(error)).toMatchObject({ code: 'internal', status: 500, cause: error });
  },
);
