import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { eventually, fixture } from '../support/harness.js';
import { writeJobs } from '../support/jobs-module.js';
import { type Line, startProgram } from '../support/processes.js';

describe('an error that a handler does not see', () => {
  const source = `
    import { EventEmitter } from 'node:events';
    const never = new Promise(() => {});
    const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const ways = {
      rejection() { Promise.reject(new Error('nobody awaits me')); return never; },
      async 'later-rejection'() { await wait(5); wait(5).then(() => { throw new Error('nobody awaits me'); }); return never; },
      'rejected-string'() { Promise.reject('no error at all'); return never; },
      timer() { setTimeout(() => { throw new Error('thrown by a timer'); }, 10); return never; },
      async listener() {
        const emitter = new EventEmitter().on('it', () => { throw new Error('thrown by a listener'); });
        setImmediate(() => emitter.emit('it'));
        return never;
      },
      'looks-at-signal'({ signal }) {
        setTimeout(() => { throw new Error('thrown by a timer'); }, 10);
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      },
      async late() { setTimeout(() => { throw new Error('after the end'); }, 50); return 'done'; },
      async fine() { return 'fine'; },
      async beside() { await wait(600); return 'unharmed'; },
    };
    export default [
      defineJob({
        name: 'stray', payload: z.object({ way: z.string() }), retry: { attempts: 1 }, timeout: '60s', concurrency: 2,
        run: (context) => ways[context.payload.way](context),
      }),
    ];`;

  it.each([
    ['a rejection that nobody awaits', 'rejection', 'nobody awaits me'],
    ['one that comes later', 'later-rejection', 'nobody awaits me'],
    ['one with a string', 'rejected-string', 'the handler threw "no error at all"'],
    ['an error thrown from a timer', 'timer', 'thrown by a timer'],
    ['one thrown from a listener', 'listener', 'thrown by a listener'],
    ['one while the handler watches its signal', 'looks-at-signal', 'thrown by a timer'],
  ])('fails the run that it belongs to, and no other: %s', async (_, way, reason) => {
    const { program, add, find } = await workerOf(source, 'stray');
    const beside = await add({ way: 'beside' });
    const astray = await add({ way });
    await program.line(isEnd('run.failed', astray));
    const next = await add({ way: 'fine' });
    await program.line(isEnd('run.succeeded', next));
    await program.line(isEnd('run.succeeded', beside));

    expect(await find(astray)).toMatchObject({ state: 'failed', attempts: 1, error: reason });
    expect(program.lines.filter(({ event }) => event === 'run.stray-error')).toMatchObject([{ run: astray }]);
    expect(program.lines.filter(({ event }) => event === 'run.failed')).toHaveLength(1);
    expect(program.child.exitCode).toBeNull();
  });

  it('is told, and changes nothing, where its run has ended already', async () => {
    const { program, add, find } = await workerOf(source, 'stray');
    const id = await add({ way: 'late' });
    await program.line(({ event, run }) => event === 'run.stray-error' && run === id);
    const next = await add({ way: 'fine' });
    await program.line(isEnd('run.succeeded', next));

    expect(await find(id)).toMatchObject({ state: 'completed', result: 'done' });
  });

  it('that belongs to no run is told where it is a rejection, and the worker goes on', async () => {
    const { program, add } = await workerOf(
      `process.once('SIGUSR2', () => Promise.reject(new Error('a rejection at large')));
       export default [defineJob({ name: 'stray', run: () => {} })];`,
      'stray',
    );
    program.kill('SIGUSR2');
    const { error } = await program.line(({ event }) => event === 'process.stray-rejection');
    const next = await add({});
    await program.line(isEnd('run.succeeded', next));

    expect(error).toMatchObject({ message: 'a rejection at large' });
  });
});

describe('a worker process', () => {
  it('does not take the runs of a job that is disabled', async () => {
    const source = (enabled: boolean) =>
      `export default [
        defineJob({ name: 'off', enabled: ${enabled}, run: () => {} }),
        defineJob({ name: 'on', run: () => {} }),
      ];`;
    const { program, add, find, broker } = await workerOf(source(false), 'off');
    const off = await add({});
    const on = await broker.queue('on').add('on', {});
    await program.line(({ event, job }) => event === 'run.succeeded' && job === 'on');

    expect(on.id).toBeDefined();
    expect((await find(off)).state).toBe('waiting');
  });
});

/** A worker in a process of its own, for a module of jobs; and the means to give runs to one of them. */
async function workerOf(source: string, name: string) {
  const stub = defineJob({ name, payload: z.looseObject({}), retry: { attempts: 1 }, run: () => {} });
  const { broker, prefix } = await fixture([stub]);
  const settings = { RONDO_JOBS: writeJobs(source), RONDO_PREFIX: prefix, LOG_LEVEL: 'debug' };
  const program = startProgram(['worker'], { env: settings });
  await program.line(({ msg }) => msg?.startsWith('worker started') ?? false);
  return {
    program,
    broker,
    add: (payload: unknown) => enqueue(broker, stub, payload),
    find: (id: string) => eventually(() => findRun(broker, stub, id)),
  };
}

function isEnd(event: string, id: string): (line: Line) => boolean {
  return (line) => line.event === event && line.run === id;
}
