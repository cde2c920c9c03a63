import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { RondoError } from '../errors.js';
import { createRunWatch } from '../producers/run-watch.js';
import { type AppInput, createApp } from './app.js';
import { readSessionSecret } from './session.js';
import { createLive } from './site/live.js';

export interface ServerInput extends Omit<AppInput, 'sessionSecret' | 'watch' | 'live'> {
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
}

/** The api role: listens, and finishes the answers that are under way when it stops. */
export function createApiServer({ host, port, ...input }: ServerInput) {
  let secret = '';
  const watch = createRunWatch(input.broker);
  const live = createLive();
  const server = createServer(createApp({ ...input, watch, live, sessionSecret: () => secret }));
  return {
    name: 'api',
    /** Where it listens, once started. */
    address: () => `http://${host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`,
    async start() {
      // The board holds on to its queues: one that Redis left at its first command would never recover.
      await Promise.all(input.registry.jobs.map(({ name }) => input.broker.queue(name).waitUntilReady()));
      secret = await readSessionSecret(input.broker);
      server.listen(port, host);
      try {
        await once(server, 'listening');
      } catch (cause) {
        const { code } = cause as { code?: string };
        const why = code === 'EADDRINUSE' ? 'something listens there already' : (cause as Error).message;
        throw new RondoError('port-unusable', `HOST is ${host} and PORT ${port}: ${why}`, { cause });
      }
    },
    async stop(deadline: number) {
      if (!server.listening) return;
      const closed = once(server, 'close');
      watch.stop();
      live.stop();
      server.close();
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), Math.max(0, Math.min(deadline - Date.now(), 5_000)));
      await closed;
      clearTimeout(timer);
    },
  };
}
