import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The package of a module, by the nearest package.json above it: whose schedules those of its jobs are. */
export function packageAbove(path: string): { name: string; version: string; named: boolean } {
  const folder = dirname(path);
  try {
    const { name, version = '0.0.0' } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    return { name: name ?? 'rondo', version, named: name !== undefined };
  } catch {
    return folder === path ? { name: 'rondo', version: '0.0.0', named: false } : packageAbove(folder);
  }
}
