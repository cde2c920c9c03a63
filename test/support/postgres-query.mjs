import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

export function postgresQuery(folder) {
  return async (text, values = []) => {
    const sql = text.replace(/\$(\d)/g, (_, index) => `'${String(values[Number(index) - 1]).replaceAll("'", "''")}'`);
    const answers = /RETURNING|^\s*SELECT/.test(sql);
    const asked = answers ? `WITH q AS (${sql}) SELECT coalesce(json_agg(q), '[]') FROM q` : sql;
    const flags = ['-h', folder, '-U', 'postgres', '-X', '-q', '-t', '-A', '-v', 'ON_ERROR_STOP=1', '-c', asked];
    const { stdout } = await run('psql', flags, { timeout: 20_000 });
    return { rows: answers ? JSON.parse(stdout) : [] };
  };
}
