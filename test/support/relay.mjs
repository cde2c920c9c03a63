// A relay of its own process, that kills itself before a step that it is told: statements and requests are steps.
import { createClient, relayOnce } from '../../dist/client/index.js';
import { postgresQuery } from './postgres-query.mjs';

const { PG_FOLDER: folder = '', API_URL: url = '', API_KEY: key = '', DIE_AT: dieAt = '' } = process.env;
const query = postgresQuery(folder);
let steps = 0;

/** Before the work, and after it: what is done and not yet known to be done is a point of its own. */
const step = async (work) => {
  if (steps++ === Number(dieAt || Number.NaN)) process.kill(process.pid, 'SIGKILL');
  const done = await work();
  if (steps++ === Number(dieAt || Number.NaN)) process.kill(process.pid, 'SIGKILL');
  return done;
};

const client = createClient({ url, key, fetch: (input, init) => step(() => fetch(input, init)) });
const relayed = await relayOnce({
  query: (text, values) => step(() => query(text, values)),
  client,
  concurrency: 1,
  leaseMs: 1_500,
  batch: 3,
});
console.log(JSON.stringify({ ...relayed, steps }));
