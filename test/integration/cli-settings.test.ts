import { describe, expect, it, onTestFinished } from 'vitest';
import { refused, words } from '../support/commands.js';
import { runProgram, runShell } from '../support/processes.js';
import { hasRedisServer, startRedis } from '../support/servers.js';

describe('output to a pipe', () => {
  const long = 'schedules preview heartbeat --count 10000 --json';

  it('is complete, however long it is and however slowly it is read', async () => {
    const { stdout } = await runShell(`$rondo ${long} | { sleep 1; cat; }`);

    expect(JSON.parse(stdout).times).toHaveLength(10_000);
  });

  it('may be cut off by its reader, without a complaint', async () => {
    const { stdout, stderr } = await runShell(`$rondo ${long} | head -n 1`);

    expect({ stdout, stderr }).toEqual({ stdout: '{\n', stderr: '' });
  });
});

describe('wrong settings', () => {
  it.each<{ env: Record<string, string>; says: RegExp }>([
    { env: { REDIS_URL: 'localhost:6379' }, says: /REDIS_URL: expected redis:\/\/.*; got/ },
    { env: { REDIS_URL: 'https://example.org' }, says: /REDIS_URL: expected redis:\/\// },
    { env: { REDIS_URL: 'redis://localhost/first' }, says: /REDIS_URL: expected redis:\/\/.*\/database/ },
    { env: { RONDO_PREFX: 'x' }, says: /RONDO_PREFX: expected no such setting \(did you mean RONDO_PREFIX\?\)/ },
    { env: { RONDO_PREFIX: 'a b' }, says: /RONDO_PREFIX: expected up to 50 letters.*; got "a b"/ },
    { env: { LOG_LEVEL: 'loud' }, says: /LOG_LEVEL: expected one of .*"info".*; got "loud"/ },
    { env: { SHUTDOWN_GRACE: '1 minute' }, says: /SHUTDOWN_GRACE: expected a duration .*; got "1 minute"/ },
    { env: { NODE_ENV: 'production', REDIS_URL: '' }, says: /REDIS_URL: expected .*production; got nothing/ },
  ])('are one clear message, whatever the command: $env', async ({ env, says }) => {
    const outcomes = await Promise.all([runProgram(['worker'], { env }), runProgram(['runs', 'list'], { env })]);

    for (const { code, stdout, stderr } of outcomes) {
      expect(stderr).toMatch(/^rondo: The settings are wrong\n {2}\S+: expected .*; got .* \[config-invalid\]\n$/);
      expect(stderr).toMatch(says);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    }
  });

  it('are told all at once', async () => {
    const env = { REDIS_URL: 'nonsense', LOG_LEVEL: 'loud', SHUTDOWN_GRACE: '-1s', RONDO_JOB: './jobs.mjs' };

    const { code, stderr } = await runProgram(['worker'], { env });

    for (const key of Object.keys(env)) expect(stderr).toContain(`\n  ${key}: expected`);
    expect(code).toBe(1);
  });

  it('name REDIS_URL where Redis refuses, whatever the command', async () => {
    const commands = ['start', 'producer', 'worker', 'runs list', 'schedules plan'];

    const outcomes = await Promise.all(
      commands.map((command) => runProgram(words(command), { env: { REDIS_URL: refused } })),
    );

    const stderr = `rondo: Redis cannot be used: REDIS_URL is ${refused}: connect ECONNREFUSED 127.0.0.1:1 [redis-unreachable]\n`;
    for (const outcome of outcomes) expect(outcome).toMatchObject({ code: 1, stdout: '', stderr });
  });

  it('never show a secret', async () => {
    const secret = 'hunter2-s3cret';
    const addresses = [
      `redis://:${secret}@127.0.0.1:1`,
      `redis://user:${secret}@127.0.0.1:1/0?password=${secret}`,
      `redis://user:${secret}@127.0.0.1:1/nodatabase`,
      `redis://user:${secret}@127.0.0.1:port`,
      `redis://user:${secret}/with@slash@127.0.0.1:1`,
      `rediss//user:${secret}@127.0.0.1:1`,
      `redis+cluster://user:${secret}@127.0.0.1:1,127.0.0.1:2`,
      `redis+cluster://user:${secret}@127.0.0.1:1,127.0.0.1:seven`,
      secret,
    ];
    const env = { LOG_LEVEL: 'trace' };
    const outcomes = await Promise.all(
      addresses.map((REDIS_URL) => runProgram(['producer'], { env: { ...env, REDIS_URL } })),
    );

    for (const [index, { code, stdout, stderr }] of outcomes.entries()) {
      expect(stderr, addresses[index]).toContain('REDIS_URL');
      expect(stdout + stderr, addresses[index]).not.toContain('s3cret');
      expect(code).toBe(1);
    }
  });

  it('want no REDIS_URL in production where the command wants no Redis', async () => {
    const env = { NODE_ENV: 'production', REDIS_URL: '' };
    const run = async (command: string) => runProgram(words(command), { env });
    const preview = 'schedules preview heartbeat --count 1';
    for (const done of await Promise.all(['jobs list', 'jobs show heartbeat', preview].map(run))) {
      expect(done).toMatchObject({ code: 0, stderr: '' });
    }
    expect((await run('db status')).stderr).toMatch(/^ {2}DATABASE_URL: expected .*\[config-invalid\]$/m);
    expect((await run('db status')).stderr).not.toContain('REDIS_URL');
  });

  it('name REDIS_URL where it is not set and the command wants a Redis', async () => {
    const { code, stderr } = await runProgram(['schedules', 'list'], { env: { REDIS_URL: '' } });

    expect(stderr).toMatch(/^rondo: Redis cannot be used: REDIS_URL is not set.*\[redis-unreachable\]\n$/);
    expect(code).toBe(1);
  });
});

describe.skipIf(!hasRedisServer())('a Redis with a password', () => {
  it('is used with the right one, and refuses a wrong one without showing it', async () => {
    const redis = await startRedis({ args: ['--requirepass', 'right-s3cret'] });
    onTestFinished(() => redis.stop());
    const at = (password: string) => ({ env: { REDIS_URL: `redis://:${password}@127.0.0.1:${redis.port}` } });

    const [right, wrong, none] = await Promise.all([
      runProgram(['runs', 'list'], at('right-s3cret')),
      runProgram(['runs', 'list'], at('wrong-s3cret')),
      runProgram(['runs', 'list'], { env: { REDIS_URL: redis.url } }),
    ]);

    expect(right).toMatchObject({ code: 0, stderr: '' });
    for (const { code, stderr } of [wrong, none]) {
      expect(stderr).toMatch(
        /^rondo: Redis cannot be used: REDIS_URL is .*(WRONGPASS|NOAUTH).*\[redis-unreachable\]\n$/,
      );
      expect(stderr).not.toContain('s3cret');
      expect(code).toBe(1);
    }
  });
});
