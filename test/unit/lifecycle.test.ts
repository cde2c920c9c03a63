import { describe, expect, test } from 'vitest';
import { createLifecycle, type Service } from '../../src/lifecycle.js';

function parts() {
  const calls: string[] = [];
  const part = (name: string, faults: { start?: Error; stop?: Error } = {}): Service => ({
    name,
    async start() {
      calls.push(`start ${name}`);
      if (faults.start) throw faults.start;
    },
    async stop(deadline) {
      calls.push(`stop ${name} by ${deadline}`);
      if (faults.stop) throw faults.stop;
    },
  });
  return { calls, part };
}

describe('the lifecycle', () => {
  test('starts parts in order and stops them in reverse, under one deadline', async () => {
    const { calls, part } = parts();
    const lifecycle = createLifecycle();
    for (const name of ['a', 'b', 'c']) await lifecycle.start(part(name));
    await lifecycle.stop(42);
    expect(calls).toEqual(['start a', 'start b', 'start c', 'stop c by 42', 'stop b by 42', 'stop a by 42']);
  });

  test('stops one part only when the one started after it has stopped', async () => {
    const calls: string[] = [];
    const lifecycle = createLifecycle();
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    await lifecycle.start({ name: 'first', start: async () => {}, stop: async () => void calls.push('first') });
    await lifecycle.start({
      name: 'last',
      start: async () => {},
      stop: () => held.then(() => void calls.push('last')),
    });
    const stopped = lifecycle.stop(42);
    await Promise.resolve();
    expect(calls).toEqual([]);
    letGo();
    await stopped;
    expect(calls).toEqual(['last', 'first']);
  });

  test('passes on why a part does not start, and stops what was started before it', async () => {
    const { calls, part } = parts();
    const lifecycle = createLifecycle();
    const fault = new Error('port taken');
    await lifecycle.start(part('a'));
    await expect(lifecycle.start(part('b', { start: fault }))).rejects.toBe(fault);
    await lifecycle.stop(42);
    expect(calls).toContain('stop a by 42');
  });

  test('stops every part although some fail to, and tells all failures', async () => {
    const { calls, part } = parts();
    const lifecycle = createLifecycle();
    const [one, two] = [new Error('one'), new Error('two')];
    await lifecycle.start(part('a', { stop: one }));
    await lifecycle.start(part('b'));
    await lifecycle.start(part('c', { stop: two }));
    const failure = await lifecycle.stop(42).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(AggregateError);
    expect((failure as AggregateError).errors).toEqual([two, one]);
    expect(calls.slice(3)).toEqual(['stop c by 42', 'stop b by 42', 'stop a by 42']);
  });

  test('stops nothing twice', async () => {
    const { calls, part } = parts();
    const lifecycle = createLifecycle();
    await lifecycle.start(part('a'));
    await lifecycle.stop(42);
    await lifecycle.stop(43);
    expect(calls).toEqual(['start a', 'stop a by 42']);
  });
});
