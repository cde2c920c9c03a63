import type { ActiveRun } from './active-run.js';

/**
 * The active runs of one job, and the watch over their timeout. All have the same one, so the oldest is the first
 * to pass it, and one timer serves all: a timer for each run would cost more than the rest of a short run.
 */
export function createDeadlines(timeoutMs: number, onPassed: (run: ActiveRun) => void) {
  const runs = new Set<ActiveRun>();
  const overdue = new WeakSet<ActiveRun>();
  let timer: NodeJS.Timeout | null = null;

  function look(): void {
    timer = null;
    for (const run of runs) {
      if (overdue.has(run)) continue;
      const leftMs = run.startedAt + timeoutMs - performance.now();
      if (leftMs > 0) {
        timer = setTimeout(look, Math.ceil(leftMs));
        return;
      }
      overdue.add(run);
      onPassed(run);
    }
  }

  return {
    runs: runs as ReadonlySet<ActiveRun>,
    add(run: ActiveRun): void {
      runs.add(run);
      timer ??= setTimeout(look, timeoutMs);
    },
    delete(run: ActiveRun): void {
      runs.delete(run);
    },
    /** Lets the process end. */
    stop(): void {
      if (timer) clearTimeout(timer);
    },
  };
}
