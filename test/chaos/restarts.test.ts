import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { eventually, fixture } from '../support/harness.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { startProgram } from '../support/processes.js';
import { restartAtRandom } from '../support/restarts.js';

const chaosMs = 30_000;
/** Longer than it takes until a run is given to another worker when its own was killed. */
const recoveryMs = 60_000;

/** Its runs take a while, so that kills come in their middle. */
const module = `
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
export default [
  defineJob({
    name: 'clock',
    schedules: [{ id: 'clock', cron: '* * * * * *', misfire: 'run-all' }],
    retry: { attempts: 1 },
    async run({ tick }) {
      await sleep(800);
      appendFileSync(new URL('ticks', import.meta.url), tick.time.getTime() + '\\n');
    },
  }),
];`;

it('runs every second of a cron while its processes are killed and restarted', async () => {
  const { prefix } = await fixture([]);
  const folder = freshFolder();
  const env = { RONDO_JOBS: writeJobs(module, { folder }), RONDO_PREFIX: prefix };
  const file = join(folder, 'ticks');
  const ticks = () => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : []);

  const programs = Array.from({ length: 4 }, () => startProgram(['start'], { env }));
  await eventually(() => ticks().length > 0, 30_000);
  const counts = await restartAtRandom(programs, env, chaosMs);

  const lastAt = Math.floor(Date.now() / 1_000) * 1_000;
  const missing = () => {
    const ran = new Set(ticks());
    const firstAt = Math.min(...ran);
    const seconds = Array.from({ length: (lastAt - firstAt) / 1_000 + 1 }, (_, index) => firstAt + index * 1_000);
    return seconds.filter((second) => !ran.has(second)).map((second) => new Date(second).toISOString());
  };
  await eventually(() => missing().length === 0, recoveryMs).catch(() => {}); // the assertion below says which
  const recoveredMs = Date.now() - lastAt;
  const all = ticks();
  const distinct = new Set(all);
  console.log(
    `${counts.SIGKILL} SIGKILL, ${counts.SIGTERM} SIGTERM; ${distinct.size} ticks, ${all.length - distinct.size} run twice; the last was in ${recoveredMs} ms after the chaos`,
  );

  expect(missing()).toEqual([]);
  expect(programs.map(({ child }) => child.exitCode)).toEqual([null, null, null, null]);
  expect([...distinct].filter((tick) => tick % 1_000 !== 0)).toEqual([]);
});
