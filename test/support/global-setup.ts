import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Redis } from 'ioredis';
import type { TestProject } from 'vitest/node';
import { chromiumPath, hasChromium } from './browser.js';
import { hasRedisServer, startRedis } from './servers.js';

type ServerKind = 'url' | 'docker' | 'path' | 'embedded';

declare module 'vitest' {
  interface ProvidedContext {
    redisUrl: string;
    serverKind: ServerKind;
  }
}

interface TestServer {
  readonly kind: ServerKind;
  readonly url: string;
  /** What it is and where it comes from; the version stands for `*`. */
  readonly name: string;
  stop(): Promise<void>;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const image = 'redis:8-bookworm';
const dockerAnswerMs = 2_000;
const connectTimeoutMs = 5_000;

/** Builds the program, since tests start it as its own process, and chooses the server that they share. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  build();
  const notes: string[] = [];
  const server = givenServer() ?? (await dockerServer(notes)) ?? (await pathServer()) ?? (await embeddedServer());
  const version = await readVersion(server).catch(async (error: Error) => {
    await server.stop();
    throw new Error(`${server.name.replace('* ', '')} (${place(server.url)}) cannot be used: ${error.message}`);
  });

  console.log(`tests run on ${server.name.replace('*', version || '(version unknown)')} (${place(server.url)})`);
  if (!hasRedisServer()) {
    notes.push('SKIPPED: every test that stops or restarts a Redis of its own, since no redis-server is on the PATH');
  }
  if (!hasChromium()) notes.push(`SKIPPED: every test in a browser, since there is no ${chromiumPath} (CHROMIUM_PATH)`);
  for (const note of notes) console.log(note);

  project.provide('redisUrl', server.url);
  project.provide('serverKind', server.kind);
  return () => server.stop();
}

function build(): void {
  const result = spawnSync(process.execPath, [join('scripts', 'build.mjs')], { cwd: root, encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`the build failed\n${result.stdout}${result.stderr}`);
}

function givenServer(): TestServer | undefined {
  const url = process.env.TEST_REDIS_URL;
  return url ? { kind: 'url', url, name: 'Redis * at TEST_REDIS_URL', stop: async () => {} } : undefined;
}

async function dockerServer(notes: string[]): Promise<TestServer | undefined> {
  if (!dockerAnswers()) return undefined;
  try {
    const { GenericContainer } = await import('testcontainers');
    const container = await new GenericContainer(image)
      .withExposedPorts(6379)
      .withCommand(['redis-server', '--hz', '100', '--maxmemory-policy', 'noeviction'])
      .start();
    const stop = async () => void (await container.stop());
    const url = `redis://${container.getHost()}:${container.getMappedPort(6379)}`;
    return { kind: 'docker', url, name: `Redis * in Docker, image ${image}`, stop };
  } catch (error) {
    const [reason] = String(error instanceof Error ? error.message : error).split('\n');
    notes.push(`Docker answers, but ${image} could not be started there: ${reason}`);
    return undefined;
  }
}

/**
 * Asks as testcontainers will: it knows more places where an engine may listen than a socket's usual path. In a
 * process of its own, since a request that an engine never answers keeps its process alive.
 */
function dockerAnswers(): boolean {
  const program = `
    const { getContainerRuntimeClient } = await import('testcontainers');
    setTimeout(() => process.exit(1), ${dockerAnswerMs});
    await getContainerRuntimeClient().then(() => process.exit(0), () => process.exit(1));`;
  const args = ['--input-type=module', '--eval', program];
  return spawnSync(process.execPath, args, { cwd: root, stdio: 'ignore', timeout: 10_000 }).status === 0;
}

async function pathServer(): Promise<TestServer | undefined> {
  if (!hasRedisServer()) return undefined;
  const { url, stop } = await startRedis();
  return { kind: 'path', url, name: 'redis-server * from the PATH', stop };
}

async function embeddedServer(): Promise<TestServer> {
  const built = pathToFileURL(join(root, 'dist', 'broker', 'embedded.js')).href;
  const { startEmbedded } = (await import(built)) as typeof import('../../src/broker/embedded.js');
  const { url, stop } = await startEmbedded();
  return { kind: 'embedded', url, name: 'the embedded Valkey *, in memory', stop };
}

/** Also proves that the server answers. Sentinel and Cluster addresses are left to the tests. */
async function readVersion({ url }: TestServer): Promise<string> {
  if (!/^rediss?:/.test(url)) return '';
  const redis = new Redis(url, {
    lazyConnect: true,
    retryStrategy: () => null,
    connectTimeout: connectTimeoutMs,
  });
  let reason: Error | undefined;
  redis.on('error', (error) => {
    reason = error; // the rejection only says that the connection is closed
  });
  try {
    await redis.connect();
    const info = await redis.info('server');
    return (/^valkey_version:(\S+)/m.exec(info) ?? /^redis_version:(\S+)/m.exec(info))?.[1] ?? '';
  } catch (error) {
    throw reason ?? error;
  } finally {
    redis.disconnect();
  }
}

/** Without the credentials that an address may hold. */
function place(url: string): string {
  return url
    .replace(/^[^:]+:\/\//, '')
    .replace(/^.*@/, '')
    .replace(/[/?].*$/, '');
}
