import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { eventually, fixture } from '../support/harness.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { startProgram } from '../support/processes.js';

const runs = 200;

/** Each run tells where it begins and ends, so that one that was cut off can be seen. */
const module = `
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
const note = (...words) => appendFileSync(new URL('notes', import.meta.url), words.join(' ') + '\\n');
export default [
  defineJob({
    name: 'count-stock',
    concurrency: 5,
    retry: { attempts: 1 },
    async run({ run }) {
      note('begin', run.id, process.pid);
      await sleep(200);
      note('end', run.id, process.pid);
    },
  }),
];`;

it('loses none of 200 runs when one of two workers is killed in their middle', async () => {
  const { broker, prefix } = await fixture([]);
  const folder = freshFolder();
  const env = { RONDO_JOBS: writeJobs(module, { folder }), RONDO_PREFIX: prefix };
  const file = join(folder, 'notes');
  const notes = () => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []).map(readNote);
  const ended = () => new Set(notes().flatMap(({ verb, id }) => (verb === 'end' ? [id] : [])));

  const queue = broker.queue('count-stock');
  const added = await queue.addBulk(Array.from({ length: runs }, () => ({ name: 'count-stock', data: {} })));
  const ids = added.map(({ id }) => String(id)).sort();
  const [killed] = [startProgram(['worker'], { env }), startProgram(['worker'], { env })];
  const ofKilled = () => notes().filter(({ pid }) => pid === killed?.child.pid);
  await eventually(() => ended().size >= runs / 3 && ofKilled().length > 0, 60_000);
  const killedAt = Date.now();
  killed?.kill('SIGKILL');
  await killed?.exit;

  const begun = ofKilled().flatMap(({ verb, id }) => (verb === 'begin' ? [id] : []));
  const finished = ofKilled().flatMap(({ verb, id }) => (verb === 'end' ? [id] : []));
  const cutOff = begun.filter((id) => !finished.includes(id));
  await eventually(() => ended().size === runs, 90_000);
  const tookMs = Date.now() - killedAt;
  await eventually(async () => (await queue.getJobCountByTypes('active')) === 0);

  expect(cutOff.length, 'the kill came in the middle of runs').toBeGreaterThan(0);
  expect([...ended()].sort()).toEqual(ids);
  expect(await queue.getJobCounts('wait', 'active', 'delayed', 'prioritized', 'failed', 'completed')).toEqual({
    ...{ wait: 0, active: 0, delayed: 0, prioritized: 0, failed: 0 },
    completed: runs,
  });
  const again = ids.filter((id) => notes().filter((note) => note.verb === 'begin' && note.id === id).length > 1);
  expect(again, 'what was cut off ran again').toEqual(expect.arrayContaining(cutOff));
  console.log(`${cutOff.length} runs were cut off; all was done ${tookMs} ms after the kill`);
});

function readNote(line: string) {
  const [verb, id = '', pid] = line.split(' ');
  return { verb, id, pid: Number(pid) };
}
