import { connect as openSocket } from 'node:net';
import type { Pool, PoolClient } from 'pg';
import type { Database, StatementBounds } from '../jobs/database.js';
import { type Service, until } from '../lifecycle.js';
import { withoutPassword } from './password.js';

export interface DatabaseSettings {
  readonly url: string;
  /** How many connections the process opens at most. */
  readonly poolSize: number;
  /** How long a statement may take unless its job says otherwise, in ms. */
  readonly statementTimeout: number;
}

/** How long a connection may take to be made, or to become free, in ms. */
const connectMs = 10_000;
/** How long a transaction may stand still between two statements, as one of a frozen process does, in ms. */
const idleInTransactionMs = 60_000;
/** How long the server may take to undo a transaction before its connection is dropped, in ms. */
const rollbackMs = 5_000;
/** How long a request to cancel may take before the connection is dropped without it, in ms. */
const cancelMs = 500;
/** How long a server may take to close connections, in ms. */
const goodbyeMs = 500;

/** A pool of connections that is made with its first use: a process that runs no such job pays nothing for it. */
export function createDatabase(settings: DatabaseSettings): Database & Service {
  let pool: Promise<Pool> | undefined;
  const held = new Set<PoolClient>();

  return {
    name: 'Postgres',
    async start() {},
    query: (text, values = [], bounds = {}) =>
      transaction(async (client) => (await client.query(text, [...values])).rows, bounds),
    transaction,
    connect,
    async stop(deadline) {
      if (!pool) return;
      const ended = (await pool).end();
      await Promise.race([ended, until(deadline)]);
      for (const client of held) client.release(true);
      await Promise.race([ended, until(Date.now() + goodbyeMs)]);
    },
  };

  async function transaction<Result>(
    work: (client: PoolClient) => Promise<Result>,
    { signal, statementTimeout = settings.statementTimeout }: StatementBounds = {},
  ): Promise<Result> {
    const client = await connect({ signal });
    try {
      await client.query(
        // In the transaction and not at the start of the connection: a pgbouncer between refuses that.
        `BEGIN; SET LOCAL statement_timeout = ${Math.ceil(statementTimeout)};
         SET LOCAL idle_in_transaction_session_timeout = ${idleInTransactionMs}`,
      );
      const result = await work(client);
      signal?.throwIfAborted();
      await client.query('COMMIT');
      client.release();
      return result;
    } catch (error) {
      const isUndone = !signal?.aborted && (await isRolledBack(client));
      client.release(!isUndone);
      throw signal?.aborted ? signal.reason : toldWell(withoutPassword(settings.url, error));
    }
  }

  async function connect({ signal }: Pick<StatementBounds, 'signal'> = {}): Promise<PoolClient> {
    signal?.throwIfAborted();
    pool ??= openPool(settings);
    const client = await (await pool).connect().catch((error) => {
      throw withoutPassword(settings.url, error);
    });
    held.add(client);
    const giveBack = client.release.bind(client);
    let [isReleased, isCancelled] = [false, false];
    const release: PoolClient['release'] = (error) => {
      if (isReleased) return; // an abort, or the stop of the process, came first
      isReleased = true;
      held.delete(client);
      signal?.removeEventListener('abort', onAbort);
      // A request to cancel that is on its way would find the statement of whoever is next.
      giveBack(isCancelled || error);
    };
    const onAbort = () => {
      isCancelled = true;
      void cancel(client).finally(() => release(true));
    };
    client.release = release;
    signal?.addEventListener('abort', onAbort, { once: true });
    if (!signal?.aborted) return client;
    release();
    throw signal.reason;
  }
}

async function openPool({ url, poolSize }: DatabaseSettings): Promise<Pool> {
  const { default: pg } = await import('pg');
  const pool = new pg.Pool({
    connectionString: url,
    max: poolSize,
    connectionTimeoutMillis: connectMs,
    application_name: 'rondo',
    keepAlive: true,
  });
  // A connection that nobody uses was lost: the pool makes another when one is wanted.
  pool.on('error', () => {});
  // One that is in use tells whoever waits for its statement, and nobody else has to know.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

const undefinedTable = '42P01';

function toldWell(error: unknown): unknown {
  const { code, message } = Object(error) as { code?: unknown; message?: unknown };
  if (code !== undefinedTable || !String(message).includes('rondo_catalog.')) return error;
  return new Error(`${message}: rondo db migrate creates the tables`, { cause: error });
}

/** Not where a statement that nobody has ended is before it: that one is cancelled, and goes with its connection. */
async function isRolledBack(client: PoolClient): Promise<boolean> {
  const undone = client.query('ROLLBACK').then(
    () => true,
    () => false,
  );
  const isUndone = await Promise.race([undone, until(Date.now() + rollbackMs)]);
  if (isUndone === undefined) await cancel(client);
  return isUndone ?? false;
}

/**
 * Asks the server to cancel what the connection executes: one that is merely dropped goes on with its statement, and
 * keeps its locks. By a socket of its own, as the protocol wants it; without TLS, as libpq did it, since the secret is
 * good for nothing else and the server asks for it before all else.
 */
function cancel(client: PoolClient): Promise<void> {
  const { processID, secretKey, host, port } = client as PoolClient & Partial<Cancellable>;
  if (!processID || !secretKey || !host || !port) return Promise.resolve();
  const request = Buffer.alloc(16);
  [16, 80_877_102, processID, secretKey].forEach((value, index) => {
    request.writeInt32BE(value, 4 * index);
  });
  return new Promise((resolve) => {
    const socket = host.startsWith('/') ? openSocket(`${host}/.s.PGSQL.${port}`) : openSocket(port, host);
    socket.setTimeout(cancelMs, () => socket.destroy());
    // The server closes once it has passed the request on.
    socket.once('connect', () => socket.write(request)).resume();
    socket.on('error', () => {}).once('close', () => resolve());
  });
}

/** What pg knows of a connection, beyond what its types tell. */
interface Cancellable {
  readonly processID: number;
  readonly secretKey: number;
  readonly host: string;
  readonly port: number;
}
