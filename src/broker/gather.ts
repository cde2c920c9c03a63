import type { Writable } from 'node:stream';
import { Cluster, type Redis } from 'ioredis';

/**
 * Sends the commands of one turn of the event loop a few at a time. ioredis writes each by itself, and a write is a call
 * into the kernel: for a short command dearer than all else about it. Never more than `atOnce` together: where all of a
 * busy turn went out at its end, Redis would wait for us meanwhile, and we for Redis afterwards.
 */
export function gatherCommands(client: Redis | Cluster, atOnce: number): void {
  const gather = (redis: Redis) => redis.on('connect', () => gatherWrites(redis.stream, atOnce));
  if (client instanceof Cluster) client.on('+node', gather);
  else gather(client);
}

/** What is written to the stream is held until `atOnce` pieces are there, or the turn is over. */
export function gatherWrites(stream: Writable, atOnce: number): void {
  const write = stream.write.bind(stream) as (...piece: unknown[]) => boolean;
  let held = 0;
  let ends = false;
  const release = () => {
    if (held === 0) return;
    held = 0;
    stream.uncork();
  };
  stream.write = ((...piece: unknown[]) => {
    if (held === 0) stream.cork();
    held++;
    const more = write(...piece);
    if (held >= atOnce) release();
    else if (!ends) {
      ends = true;
      setImmediate(() => {
        ends = false;
        release();
      });
    }
    return more;
  }) as Writable['write'];
}
