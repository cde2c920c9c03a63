import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, it, onTestFinished } from 'vitest';
import { eventually, fixture } from '../support/harness.js';
import { listen } from '../support/http.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { type Line, type Program, startProgram } from '../support/processes.js';

/** A job that ships what is new in a growing file to a server, which knows what it has already. */
const shippingJobs = (release: number, target: string, jobs: string) => `
import { readFileSync } from 'node:fs';
const source = new URL('../orders.log', import.meta.url);
const ship = (name, schedule) => defineJob({
  name,
  schedules: [{ id: name, ...schedule }],
  async run({ tick, signal }) {
    const known = Number(await (await fetch('${target}/' + name, { signal })).text());
    const lines = readFileSync(source, 'utf8').split('\\n').slice(0, -1).slice(known);
    const body = JSON.stringify({ release: ${release}, tick: tick.time.getTime(), known, lines });
    const answer = await fetch('${target}/' + name, { method: 'POST', body, signal });
    if (!answer.ok) throw new Error('the server answered ' + answer.status);
  },
});
export default [${jobs}];`;

it('ships every line through a deploy that changes one schedule, adds one and removes one', async () => {
  const shop = await openShop();
  const office = await openOffice();
  const { prefix } = await fixture([]);
  const release = (number: number, jobs: string) => {
    const folder = join(shop.folder, `release-${number}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'order-shop', version: `${number}.0.0` }));
    return { RONDO_PREFIX: prefix, RONDO_JOBS: writeJobs(shippingJobs(number, office.url, jobs), { folder }) };
  };
  const first = release(
    1,
    `ship('kept', { cron: '* * * * * *' }), ship('changed', { every: '2s' }), ship('removed', { every: '1s' })`,
  );
  const second = release(
    2,
    `ship('kept', { cron: '* * * * * *' }), ship('changed', { every: '3s' }), ship('added', { cron: '*/2 * * * * *' })`,
  );

  const [producer, ...workers] = ['producer', 'worker', 'worker'].map((role) => startProgram([role], { env: first }));
  await eventually(() => ['kept', 'changed', 'removed'].every((job) => office.ticks(job, 1).length >= 3), 30_000);

  const { program: newProducer } = await replace(producer, 'producer');
  const plan = await newProducer.line((line) => line.event === 'schedules.reconciled');
  const deployedAt = Date.parse(String(plan.time));
  for (const worker of workers) await replace(worker, 'worker');
  await eventually(
    () => ['kept', 'changed', 'added'].every((job) => office.ticks(job, 2).filter(isAfter(deployedAt)).length >= 4),
    30_000,
  );
  shop.close();
  const lines = shop.lines();
  await eventually(() => ['kept', 'changed', 'added'].every((job) => office.lines(job).length >= lines.length));

  expect(plan).toMatchObject({ added: 1, changed: 1, removed: 1, healed: 0, unchanged: 1 });
  expect(lines.length).toBeGreaterThan(50);
  for (const job of ['kept', 'changed', 'added']) expect(office.lines(job)).toEqual(lines);
  expect(stepsOf(office.ticks('kept')), 'a tick each second, over the deploy').toEqual([1_000]);
  // The change was made within the producer's look, which ended at that time: a new tick may fall into it.
  const lookedFrom = deployedAt - Number(plan.durationMs);
  const [before, after] = [
    office.ticks('changed').filter(isUpTo(lookedFrom)),
    office.ticks('changed').filter(isAfter(deployedAt)),
  ];
  expect(stepsOf(before)).toEqual([2_000]);
  expect(before.filter((tick) => tick % 2_000 !== 0)).toEqual([]);
  expect(stepsOf(after)).toEqual([3_000]);
  expect(after.filter((tick) => tick % 3_000 !== 0)).toEqual([]);
  expect(office.ticks('added').filter(isUpTo(deployedAt - 2_000))).toEqual([]);
  expect(stepsOf(office.ticks('removed')), 'a tick each second, until it ends').toEqual([1_000]);
  expect(office.ticks('removed').filter(isAfter(deployedAt))).toEqual([]);
  const { received, duplicates } = office;
  console.log(`${lines.length} lines; ${received()} posts, which brought ${duplicates()} lines twice`);

  /** In order, as an orchestrator does: the old one ends before the new one starts. */
  async function replace(old: Program | undefined, role: string) {
    old?.kill('SIGTERM');
    expect(await old?.exit).toEqual({ code: 0, signal: null });
    const program = startProgram([role], { env: second });
    await program.line((line: Line) => /started, with Redis at/.test(line.msg ?? ''));
    return { program };
  }
});

/** Writes an order a few times a second into a file of its own. */
async function openShop() {
  const folder = freshFolder();
  const written: string[] = [];
  const write = () => {
    const line = `order ${written.length + 1} at ${new Date().toISOString()}`;
    written.push(line);
    appendFileSync(join(folder, 'orders.log'), `${line}\n`);
  };
  write();
  const timer = setInterval(write, 100);
  const close = () => clearInterval(timer);
  onTestFinished(close);
  return { folder, close, lines: () => [...written] };
}

interface Post {
  readonly release: number;
  readonly tick: number;
  readonly known: number;
  readonly lines: readonly string[];
}

/** Answers how many lines of a job it has, and takes further ones. */
async function openOffice() {
  const posts = new Map<string, Post[]>();
  const kept = new Map<string, string[]>();
  let duplicates = 0;
  const take = (job: string, post: Post) => {
    posts.set(job, [...(posts.get(job) ?? []), post]);
    const lines = kept.get(job) ?? [];
    duplicates += Math.max(0, Math.min(lines.length - post.known, post.lines.length));
    lines.push(...post.lines.slice(Math.max(0, lines.length - post.known)));
    kept.set(job, lines);
  };
  const { url } = await listen(async (request, response) => {
    const job = request.url?.slice(1) ?? '';
    if (request.method === 'POST') take(job, JSON.parse(await text(request)) as Post);
    response.end(String(kept.get(job)?.length ?? 0));
  });
  return {
    url,
    lines: (job: string) => kept.get(job) ?? [],
    /** The times of a job's ticks that came, in order and each once; of one release or of all. */
    ticks: (job: string, release?: number) => {
      const found = (posts.get(job) ?? []).filter((post) => release === undefined || post.release === release);
      return [...new Set(found.map(({ tick }) => tick))].sort((a, b) => a - b);
    },
    received: () => [...posts.values()].flat().length,
    duplicates: () => duplicates,
  };
}

const isAfter = (time: number) => (tick: number) => tick > time;
const isUpTo = (time: number) => (tick: number) => tick <= time;

/** The distances between ticks, each once. */
function stepsOf(ticks: readonly number[]): number[] {
  return [...new Set(ticks.slice(1).map((tick, index) => tick - (ticks[index] ?? 0)))];
}
