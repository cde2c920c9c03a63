// `npm run demo`: every job of the catalog at work, with nothing to install beside it. `--once` ends after the tour.

import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { createClient } from 'rondo/client';
import { acts } from './demo/acts.mjs';
import { demoSettings, migrate, startRondo } from './demo/rondo.mjs';
import { seed, startMailServer, startPostgres, startWebServer, writeDataFolder } from './demo/surroundings.mjs';

/** When it aborts, all ends: with a signal, or when the service is gone. */
const end = new AbortController();
const interrupted = Symbol('interrupted');
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => end.abort(interrupted));
const stops = [];

process.exitCode = 1;
try {
  const { values: flags } = parseArgs({ options: { once: { type: 'boolean', default: false } } });
  const { rondo, settings, target } = await start();
  const failed = await tour(createClient(rondo), target);
  console.log(failed === 0 ? '\nAll runs succeeded.' : `\n${failed} of the runs failed.`);
  if (failed === 0) process.exitCode = 0;
  if (!flags.once) {
    tellWhere(rondo, settings);
    await once(end.signal, 'abort');
    throw end.signal.reason;
  }
} catch (error) {
  if (error !== interrupted) {
    console.error(`demo: ${error.message}`);
    process.exitCode = 1;
  }
} finally {
  for (const stop of stops.reverse()) await stop();
}

async function start() {
  console.log('Starting a Postgres (PGlite), a mail server and a web server, and beside them all roles of rondo …\n');
  const postgres = await begun(startPostgres());
  const mail = await begun(startMailServer((to, subject) => console.log(`      a mail to ${to} came: ${subject}`)));
  const web = await begun(startWebServer());
  const folder = await begun(writeDataFolder());
  const settings = await demoSettings({ postgres, mail, web, folder });
  await migrate(settings);
  await seed(postgres);
  const rondo = await begun(startRondo(settings, end));
  return { rondo, settings, target: `${web.url}/hook` };
}

async function begun(part) {
  const { stop, ...rest } = await part;
  stops.push(stop);
  end.signal.throwIfAborted();
  return rest;
}

/** @returns how many runs failed */
async function tour(client, target) {
  let failed = 0;
  for (const { title, job, begin } of acts(client, target)) {
    const { id } = await begin();
    const run = await client.waitFor(job, id, { timeoutMs: 60_000, signal: end.signal });
    const isOk = run.state === 'completed';
    if (!isOk) failed++;
    console.log(`${isOk ? 'ok  ' : 'FAIL'}  ${title.padEnd(22)}  ${isOk ? JSON.stringify(run.result) : run.error}`);
  }
  return failed;
}

function tellWhere({ url, key }, { DATA_FOLDER: folder }) {
  console.log(`It goes on until Ctrl-C.

board      ${url}/board
schedules  ${url}/schedules
API        ${url}/docs
key        ${key}
files      ${folder}

In a second terminal:
  export RONDO_URL=${url} RONDO_API_KEY=${key}
  npx rondo schedules list`);
}
