import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { freshFolder } from './jobs-module.js';

/** The environment of a process whose clock is wrong by so many ms; its timers are right. */
export function shiftedClock(ms: number): Record<string, string> {
  return preload(`
    const Right = Date;
    globalThis.Date = class Date extends Right {
      constructor(...parts) {
        if (parts.length === 0) super(Right.now() + ${ms});
        else super(...parts);
      }
      static now() {
        return Right.now() + ${ms};
      }
    };`);
}

/** Where, on the way of a run, a worker's process ends. */
export type DeathPoint = 'before-claim' | 'after-claim' | 'before-finish' | 'before-settle';

/**
 * The environment of a worker that kills itself with SIGKILL on the way of its third run, between two of its commands
 * to Redis.
 *
 * @param file gets the id of that run
 */
export function diesAt(point: DeathPoint, file: string): Record<string, string> {
  return preload(`
    import { writeFileSync } from 'node:fs';
    import { createRequire } from 'node:module';
    const { Redis } = createRequire(process.argv[1])('ioredis');
    const send = Redis.prototype.sendCommand;
    let runs = 0;
    Redis.prototype.sendCommand = function (command, stream) {
      const run = runIn(command);
      if (run === null || ++runs < 3) return send.call(this, command, stream);
      if (${point !== 'after-claim'}) die(run);
      const answer = send.call(this, command, stream);
      answer.then(() => die(run), () => {});
      return answer;
    };

    function die(run) {
      writeFileSync(${JSON.stringify(file)}, run);
      process.kill(process.pid, 'SIGKILL');
    }

    /** The run that the command is about, where it is the one to die at. */
    function runIn({ name, args }) {
      if (name !== 'evalsha' && name !== 'eval') return null;
      const count = Number(args[1]);
      const [keys, values] = [args.slice(2, 2 + count).map(String), args.slice(2 + count)];
      switch (${JSON.stringify(point)}) {
        case 'before-claim':
        case 'after-claim':
          return keys[0].includes(':cursor:') && keys[2]?.includes(':claims:') && count === 5 && values.length > 7 && values[0] ? values[0] : null;
        case 'before-finish':
          return keys.some((key) => key.endsWith(':completed')) ? keys.find((key) => key.includes(':repeat:')) ?? null : null;
        case 'before-settle':
          return keys[0].includes(':cursor:') && count === 5 && values.length === 7 && values[3] === '' ? values[0] : null;
      }
    }`);
}

/** The environment of an api process that kills itself right before, or right after, Redis has the first run. */
export function diesAtAdd(point: 'before' | 'after'): Record<string, string> {
  return preload(`
    import { createRequire } from 'node:module';
    const { Redis } = createRequire(process.argv[1])('ioredis');
    const send = Redis.prototype.sendCommand;
    Redis.prototype.sendCommand = function (command, stream) {
      const adds = /^eval/.test(command.name) && String(command.args[2]).endsWith(':wait');
      if (adds && ${point === 'before'}) process.kill(process.pid, 'SIGKILL');
      const answer = send.call(this, command, stream);
      if (adds) answer.then(() => process.kill(process.pid, 'SIGKILL'), () => {});
      return answer;
    };`);
}

/** The environment of a process that writes to a file, a line each, what it loads of packages whose names match. */
export function tellsWhatItLoads(packages: RegExp, file: string): Record<string, string> {
  const hooks = `
    import { appendFileSync } from 'node:fs';
    export async function resolve(specifier, context, next) {
      if (${packages}.test(specifier)) appendFileSync(${JSON.stringify(file)}, specifier + '\\n');
      return next(specifier, context);
    }`;
  return preload(`
    import { register } from 'node:module';
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hooks)}));`);
}

function preload(source: string): Record<string, string> {
  const file = join(freshFolder(), 'preload.mjs');
  writeFileSync(file, source);
  return { NODE_OPTIONS: `--import ${pathToFileURL(file)}` };
}
