import { describe, expect, it } from 'vitest';
import { refused, stackTrace, words } from '../support/commands.js';
import { runWarm } from '../support/processes.js';

describe('wrong usage', () => {
  it.each([
    { args: '', says: /Usage: rondo/ },
    { args: 'jobs', says: /Usage: rondo jobs/ },
    { args: 'sart', says: /unknown command 'sart'\n\(Did you mean start\?\)/ },
    { args: 'schedules plann', says: /unknown command 'plann'\n\(Did you mean plan\?\)/ },
    { args: 'jobs list --jsn', says: /unknown option '--jsn'\n\(Did you mean --json\?\)/ },
    { args: 'jobs list heartbeat', says: /too many arguments/ },
    { args: 'jobs show', says: /missing required argument 'name'/ },
    { args: 'runs show heartbeat', says: /missing required argument 'id'/ },
    { args: 'jobs enqueue heartbeat --payload {"a', says: /--payload .* Expected JSON/ },
    { args: 'jobs enqueue heartbeat --delay soon', says: /Expected a duration such as .* got "soon"/ },
    { args: 'jobs enqueue heartbeat --at noon', says: /Expected an ISO time such as .* got "noon"/ },
    { args: 'jobs enqueue heartbeat --at 2026-02-30', says: /Expected an ISO time such as .* got "2026-02-30"/ },
    { args: 'audit --from 2026-04-31T10:00:00Z', says: /Expected an ISO time such as .* got "2026-04-31T/ },
    { args: 'jobs enqueue heartbeat --expires-in 0', says: /a duration of at least 1ms; got "0"/ },
    { args: 'jobs enqueue heartbeat --priority 0', says: /whole number from 1 to .* got "0"/ },
    { args: 'runs list --state lost', says: /one of waiting, delayed, .* got "lost"/ },
    { args: 'runs list --limit 1e3', says: /whole number from 1 to 100000; got "1e3"/ },
    { args: 'runs list --limit 1001', says: /a --limit beyond 1000 want --job/ },
    { args: 'jobs list --gone --paused', says: /either --gone or --paused/ },
    { args: 'jobs enqueue heartbeat --ttl 5m', says: /--ttl and --mode want --deduplicate/ },
    { args: 'jobs enqueue heartbeat --deduplicate k --mode debounce', says: /--mode debounce wants --ttl/ },
    { args: 'schedules preview heartbeat --count 0', says: /whole number from 1 to .* got "0"/ },
    { args: 'schedules ticks x --outcome pausd', says: /one of waiting, .* got "pausd"\. Did you mean "paused"\?/ },
    { args: 'schedules ticks x --limit 1001', says: /whole number from 1 to 1000; got "1001"/ },
    {
      args: 'schedules ticks x --from 2026-11-21 --to 2026-11-20',
      says: /--to: expected a time at or after --from, 2026-/,
    },
    { args: 'schedules backfill x --from 2026-11-21', says: /a backfill wants --from and --to/ },
    { args: 'schedules backfill x --cancel --status', says: /--cancel and --status exclude each other/ },
    {
      args: 'schedules backfill x --from 2026-11-21 --to 2026-11-20',
      says: /--to: expected a time at or after --from, 2026-/,
    },
    { args: 'import crontab /dev/null --timezone Europe/Pariss', says: /time zone such as .* got "Europe\/Pariss"/ },
    { args: 'new job tidy --folder /dev/null', says: /--folder \/dev\/null: .*EEXIST/ },
    { args: 'new job tidy --folder /dev/null/jobs', says: /--folder \/dev\/null\/jobs: .*ENOTDIR/ },
    { args: 'new job index', says: /index is the list of jobs/ },
    { args: 'audit --from 2026-11-21 --to 2026-11-20', says: /--to: expected a time at or after .* got 2026-11-20T/ },
    { args: 'schedules pause x --until soon', says: /a duration such as 2h or an ISO time .* got "soon"/ },
    { args: 'schedules pause x --until 2020-01-01T00:00:00Z', says: /a time to come; got "2020-/ },
    { args: 'schedules pause x --until 0s', says: /a time to come; got "0s"/ },
    { args: 'schedules pause x --until 99999999d', says: /a time within 100 years; got "99999999d"/ },
    { args: 'jobs enqueue x --delay 99999999d', says: /a duration of at most 365d; got "99999999d"/ },
    { args: 'jobs enqueue x --at 9999-01-01', says: /a time within a year; got "9999-01-01"/ },
    { args: 'pause', says: /takes --all; for one it is: rondo schedules pause <id>/ },
    { args: 'resume --json', says: /takes --all; for one it is: rondo schedules resume <id>/ },
    { args: 'worker --jobs ,', says: /one or more names.* got ","/ },
  ])('exits with 2 and says what is wrong: rondo $args', async ({ args, says }) => {
    const { code, stdout, stderr } = await runWarm(words(args), { env: { REDIS_URL: refused } });

    expect(stderr).toMatch(says);
    expect(stderr).not.toMatch(stackTrace);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });

  it('takes either --delay or --at, not both', async () => {
    const args = ['jobs', 'enqueue', 'heartbeat', '--delay', '5m', '--at', '2026-01-01T00:00:00Z'];

    const { code, stdout, stderr } = await runWarm(args);

    expect(stderr).toContain('either --delay or --at, not both');
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});

describe('help', () => {
  it.each(['--help', 'help', 'jobs --help', 'jobs enqueue --help', '--version'])(
    'is no failure: rondo %s',
    async (args) => {
      const { code, stdout, stderr } = await runWarm(words(args), { env: { REDIS_URL: refused } });

      expect(stdout).toMatch(args === '--version' ? /^\d+\.\d+\.\d+\S*\n$/ : /^Usage: rondo/);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    },
  );
});
