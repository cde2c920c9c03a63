import type { PoolClient } from 'pg';

/** The Postgres that the jobs of a process share. Connects with the first use. */
export interface Database {
  /** One statement, as a transaction of its own. @returns its rows */
  query<Row>(text: string, values?: readonly unknown[], bounds?: StatementBounds): Promise<Row[]>;
  /**
   * Commits what `work` did once that has resolved, and undoes it where it threw. Work on `client` alone: it is one
   * connection, with the whole of pg's interface, such as streams.
   */
  transaction<Result>(work: (client: PoolClient) => Promise<Result>, bounds?: StatementBounds): Promise<Result>;
  /**
   * A connection outside of any transaction, for whoever calls its `release`. Its statements are bounded by the signal
   * alone, which also takes it away.
   */
  connect(bounds?: Pick<StatementBounds, 'signal'>): Promise<PoolClient>;
}

export interface StatementBounds {
  /** When it aborts, the statement under way is cancelled and its transaction undone, and all that waits for it throws. */
  readonly signal?: AbortSignal;
  /** How long each statement may take, in ms; 0 is any time. What the settings say unless told. */
  readonly statementTimeout?: number;
}
