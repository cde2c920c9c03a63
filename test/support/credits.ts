import type { Database } from '../../src/jobs/database.js';

/** What the jobs of the catalog keep in Postgres, filled and read as their tests want it. */
export function creditTables(database: Database) {
  return {
    async empty() {
      await database.query('TRUNCATE rondo_catalog.tiers, rondo_catalog.users, rondo_catalog.purchases');
      await database.query('TRUNCATE rondo_catalog.credit_adjustments');
      await database.query(`INSERT INTO rondo_catalog.tiers VALUES ('free', 100), ('pro', 500)`);
    },
    /** As many users of a tier, numbered from an id on. */
    async addUsers(from: number, count: number, tier: string, credits: number) {
      const numbers = [from, from + count - 1, tier, credits];
      const values = 'SELECT id, $3, $4 FROM generate_series($1::bigint, $2::bigint) AS id';
      await database.query(`INSERT INTO rondo_catalog.users (id, tier, free_credits) ${values}`, numbers);
    },
    /** Credits of all users, in the order of their ids. */
    async credits() {
      const text = 'SELECT free_credits FROM rondo_catalog.users ORDER BY id';
      const rows = await database.query<{ free_credits: number }>(text);
      return rows.map(({ free_credits }) => free_credits);
    },
    adjustments: () =>
      database.query<{ user: number; month: string; tier: string; amount: number; afterwards: number; run: string }>(
        `SELECT user_id::int AS user, to_char(month, 'YYYY-MM') AS month, tier, amount, free_credits AS afterwards, run_id AS run
         FROM rondo_catalog.credit_adjustments ORDER BY month, user_id`,
      ),
  };
}
