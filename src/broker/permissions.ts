import { randomBytes } from 'node:crypto';
import type { RedisClient } from './connection.js';

/** What the server would not do for us: a command, or writing in one of the places where our keys are. */
export interface Refusal {
  readonly command: string;
  readonly reason: string;
}

/**
 * Tries every command that Rondo and BullMQ want, on keys that are made for it under the prefix and removed again.
 * To ask (`ACL DRYRUN`) would itself want a permission that few have.
 */
export async function findRefusals(client: RedisClient, prefix: string): Promise<Refusal[]> {
  const mark = randomBytes(6).toString('hex');
  const base = `{${prefix}:doctor}:scratch:${mark}:`;
  const whole = `{${prefix}}:scratch:${mark}`;
  const tried = [...commandsOn(base), ['SET', whole, '1', 'PX', '60000'], ['DEL', whole]];
  const refusals = await Promise.all(tried.map((command) => attempt(client, command)));
  refusals.push(await attemptTransaction(client, base));
  const unique = new Map(refusals.flatMap((it) => (it ? [[`${it.command} ${it.reason}`, it] as const] : [])));
  return [...unique.values()];
}

/** Every command by its name, for a rule of the server's access list. `CLIENT` is for the names of connections. */
export const commandsNeeded: readonly string[] = [
  ...new Set([...commandsOn('').map(([name = '']) => name.toLowerCase()), 'multi', 'exec']),
];

async function attempt(client: RedisClient, [name = '', ...args]: readonly string[]): Promise<Refusal | null> {
  try {
    await client.call(name, ...args);
    return null;
  } catch (error) {
    return refusalOf(name, error);
  }
}

async function attemptTransaction(client: RedisClient, base: string): Promise<Refusal | null> {
  try {
    await client.multi([['exists', `${base}s`]]).exec();
    return null;
  } catch (error) {
    return refusalOf('MULTI', error);
  }
}

function refusalOf(command: string, error: unknown): Refusal | null {
  const reason = error instanceof Error ? error.message : String(error);
  return followsFromAnother.test(reason) ? null : { command, reason };
}

/** What a command meets where one before it was refused; and a script that nobody knows, which is as it should be. */
const followsFromAnother = /^(NOSCRIPT|WRONGTYPE)|no such key|index out of range/;

/** In an order in which each finds what it wants, and that leaves nothing behind. They go over one connection. */
function commandsOn(base: string): string[][] {
  const [text, hash, list, set, sorted, stream] = ['s', 'h', 'l', 'm', 'z', 'x'].map((name) => base + name) as Six;
  const soon = '60000';
  const unknownScript = '0'.repeat(40);
  return [
    ['PING'],
    ['TIME'],
    ['INFO', 'server'],
    ['CLIENT', 'SETNAME', ''], // none: it may be the connection of an api
    ['EVAL', 'return 1', '1', text],
    ['EVALSHA', unknownScript, '1', text],
    ...on(
      text,
      `SET 1 PX ${soon}|GET|EXISTS|INCR|INCRBY 1|EXPIRE 60|PEXPIREAT 32503680000000|PTTL|PERSIST|TYPE|STRLEN`,
    ),
    ...on(text, `SETNX 1|PEXPIRE ${soon}`),
    ...on(
      hash,
      `HSET f 1|PEXPIRE ${soon}|HSETNX g 1|HMSET g 2|HGET f|HMGET f g|HGETALL|HEXISTS f|HLEN|HKEYS|HINCRBY f 1|HDEL f g`,
    ),
    ...on(list, `LPUSH a|PEXPIRE ${soon}|RPUSH b|LLEN|LRANGE 0 -1|LINDEX 0|LSET 0 a|LPOS a|LREM 0 c|LTRIM 0 -1`),
    ['RPOPLPUSH', list, list],
    ...on(list, 'RPOP|LPOP'),
    ...on(set, `SADD a|PEXPIRE ${soon}|SISMEMBER a|SMEMBERS|SCARD|SREM a`),
    ...on(sorted, `ZADD 1 a 2 b 3 c|PEXPIRE ${soon}|ZINCRBY 1 a|ZSCORE a|ZMSCORE a b|ZCARD|ZCOUNT 0 1|ZLEXCOUNT - +`),
    ...on(sorted, 'ZRANGE 0 -1|ZREVRANGE 0 -1|ZRANGEBYSCORE 0 1|ZREVRANGEBYSCORE 1 0|ZRANGEBYLEX - +|ZREM a'),
    ...on(sorted, 'ZREMRANGEBYSCORE 0 1|ZREMRANGEBYRANK 5 6|ZPOPMIN|BZPOPMIN 0.01'),
    ...on(stream, `XADD * f 1|PEXPIRE ${soon}|XRANGE - +|XREVRANGE + -|XLEN|XTRIM MAXLEN 1|XDEL 0-1`),
    ['XREAD', 'COUNT', '1', 'STREAMS', stream, '0'],
    ['RENAME', text, `${text}2`],
    ['UNLINK', `${text}2`],
    ['DEL', text, hash, list, set, sorted, stream],
  ];
}

type Six = [string, string, string, string, string, string];

/** Commands on a key: `HGET f|HLEN` on `k` is `HGET k f` and `HLEN k`. */
function on(key: string, commands: string): string[][] {
  return commands.split('|').map((command) => {
    const [name = '', ...args] = command.split(' ');
    return [name, key, ...args];
  });
}
