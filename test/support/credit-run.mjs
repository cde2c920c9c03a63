// A process that runs the top-up once, and kills itself before or after one of its statements (DIE_AT counts both).

import pg from 'pg';
import { monthlyCreditTopUp } from '../../dist/jobs/catalog/monthly-credit-top-up.js';
import { createDatabase } from '../../dist/postgres/database.js';
import { runJob } from '../../dist/testing/index.js';

const { DATABASE_URL: url, DIE_AT, MONTH: month } = process.env;
const query = pg.Client.prototype.query;
let steps = 0;
pg.Client.prototype.query = async function (...args) {
  step();
  const answer = await query.apply(this, args);
  step();
  return answer;
};

const database = createDatabase({ url, poolSize: 1, statementTimeout: 20_000 });
const { result } = await runJob(monthlyCreditTopUp({ database, batchSize: 2 }), { month });
await database.stop(Date.now() + 1_000);
console.log(JSON.stringify({ ...result, steps }));

function step() {
  if (steps++ === Number(DIE_AT)) process.kill(process.pid, 'SIGKILL');
}
