import { openBroker } from '../dist/broker/queues.js';

/** Rondo's own connection and queues, under the prefix of the benchmarks. */
export function openBench(url, profile) {
  const redis = { kind: 'single', url, shown: url };
  return openBroker({ redis, profile, prefix: 'bench', ruleOf: () => undefined, jobOf: () => undefined, emit() {} });
}
