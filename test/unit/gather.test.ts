import { Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { gatherWrites } from '../../src/broker/gather.js';

/** A stream that tells what came with each call into the kernel, were it a socket. */
function recording() {
  const calls: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      calls.push(String(chunk));
      done();
    },
    writev(chunks, done) {
      calls.push(chunks.map(({ chunk }) => String(chunk)).join(''));
      done();
    },
  });
  gatherWrites(stream, 4);
  return { stream, calls };
}

describe('what is written in one turn', () => {
  test('goes out together when the turn is over', async () => {
    const { stream, calls } = recording();
    for (const piece of 'abc') stream.write(piece);
    expect(calls).toEqual([]);
    await setImmediate();
    expect(calls).toEqual(['abc']);
  });

  test('is not held beyond so many pieces, and stays in order', async () => {
    const { stream, calls } = recording();
    for (const piece of 'abcdefghij') stream.write(piece);
    expect(calls).toEqual(['abcd', 'efgh']);
    await setImmediate();
    expect(calls).toEqual(['abcd', 'efgh', 'ij']);
    stream.write('k');
    await setImmediate();
    expect(calls.at(-1)).toBe('k');
  });

  test('goes out all the same where the stream ends before', async () => {
    const { stream, calls } = recording();
    stream.write('a');
    stream.end('b');
    expect(calls).toEqual(['ab']);
    await setImmediate();
    expect(calls).toEqual(['ab']);
  });
});
