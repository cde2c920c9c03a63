import type { Redis } from 'ioredis';
import { mastersOf, type RedisClient } from './connection.js';

/** What one server says of itself, and how it answers. */
export interface ServerFacts {
  /** Host and port, as it is connected to. */
  readonly address: string;
  /** The fields of `INFO`, or why it was refused. */
  readonly info: Said;
  /** Some of `CONFIG GET`, or why it was refused: managed servers do. */
  readonly config: Said;
  /** The median of some, in ms. */
  readonly roundTripMs: number;
  /** How far its clock is ahead of this machine's, and by how much that may be wrong, in ms. */
  readonly clock: { readonly aheadMs: number; readonly uncertainMs: number };
}

type Said = { readonly fields: ReadonlyMap<string, string> } | { readonly refused: string };

/**
 * Asks the server, or each master of a cluster.
 *
 * @param now in ms since the epoch
 */
export function readServers(client: RedisClient, now: () => number): Promise<ServerFacts[]> {
  return Promise.all(mastersOf(client).map((server) => readServer(server, now)));
}

async function readServer(server: Redis, now: () => number): Promise<ServerFacts> {
  const info = await said(server.info().then(infoFields));
  const config = await said(readConfig(server));
  const clock = await readClock(server, now);
  return { address: addressOf(server), info, config, ...clock };
}

/** Of a Sentinel set, the master's. A node of a cluster is connected to by its first command. */
function addressOf({ stream, options }: Redis): string {
  const host = stream?.remoteAddress ?? options.host ?? '?';
  return `${host.includes(':') ? `[${host}]` : host}:${stream?.remotePort ?? options.port}`;
}

async function said(fields: Promise<ReadonlyMap<string, string>>): Promise<Said> {
  try {
    return { fields: await fields };
  } catch (error) {
    return { refused: (error as Error).message };
  }
}

/** The lines of `INFO`. */
export function infoFields(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const [, name, value] = /^(\w+):(.*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) fields.set(name, value);
  }
  return fields;
}

async function readConfig(server: Redis): Promise<Map<string, string>> {
  const fields = new Map<string, string>();
  // One at a time: releases before 7.0 take no more.
  for (const name of ['maxmemory-policy', 'appendonly', 'appendfsync', 'hz']) {
    const [, value] = (await server.config('GET', name)) as string[];
    if (value !== undefined) fields.set(name, value);
  }
  return fields;
}

const samples = 7;

async function readClock(server: Redis, now: () => number): Promise<Pick<ServerFacts, 'roundTripMs' | 'clock'>> {
  const seen: { tookMs: number; aheadMs: number }[] = [];
  for (let sample = 0; sample < samples; sample++) {
    const [sentAt, sent] = [now(), performance.now()];
    const [seconds, micros] = await server.time();
    const tookMs = performance.now() - sent;
    seen.push({ tookMs, aheadMs: Number(seconds) * 1_000 + Number(micros) / 1_000 - sentAt - tookMs / 2 });
  }
  seen.sort((a, b) => a.tookMs - b.tookMs);
  const [best] = seen;
  const median = seen[Math.floor(samples / 2)];
  // `now` counts whole milliseconds.
  const clock = { aheadMs: best?.aheadMs ?? 0, uncertainMs: (best?.tookMs ?? 0) / 2 + 1 };
  return { roundTripMs: median?.tookMs ?? 0, clock };
}
