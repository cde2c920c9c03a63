import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { startProgram } from './processes.js';
import { seededRandom } from './seeded-random.js';

type Program = ReturnType<typeof startProgram>;

const meanPauseMs = 1_500;

/** Ends one of the programs at random, by one of both signals, and starts another in its place, until the time is over. */
export async function restartAtRandom(programs: Program[], env: Record<string, string>, chaosMs: number) {
  const random = seededRandom();
  const counts = { SIGKILL: 0, SIGTERM: 0 };
  const chaosEndsAt = Date.now() + chaosMs;
  while (Date.now() < chaosEndsAt) {
    await sleep(meanPauseMs * (0.5 + random()));
    const index = Math.floor(random() * programs.length);
    const signal = random() < 0.5 ? 'SIGKILL' : 'SIGTERM';
    counts[signal] += 1;
    const victim = programs[index];
    expect(victim?.child.exitCode, `it ended by itself: ${victim?.text()}`).toBeNull();
    victim?.kill(signal);
    await victim?.exit;
    programs[index] = startProgram(['start'], { env });
  }
  return counts;
}
