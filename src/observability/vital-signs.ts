import { monitorEventLoopDelay } from 'node:perf_hooks';

/** How this process is. */
export interface VitalSigns {
  /** The 99th percentile, in ms, since it was asked last: how late timers and answers are. */
  readonly loopDelayMs: number;
  /** In bytes. */
  readonly memory: { readonly rss: number; readonly heapUsed: number; readonly heapTotal: number };
}

/** How often the event loop is looked at, in ms. */
const everyMs = 20;

/** @returns what reads the signs, each time of the time since the last */
export function watchVitalSigns(): () => VitalSigns {
  const delays = monitorEventLoopDelay({ resolution: everyMs });
  delays.enable();
  return () => {
    // What is measured is from one look to the next. Right after a reset there may be none yet.
    const delayMs = delays.count > 0 ? delays.percentile(99) / 1e6 - everyMs : 0;
    delays.reset();
    const { rss, heapUsed, heapTotal } = process.memoryUsage();
    return { loopDelayMs: Math.max(0, Math.round(delayMs * 10) / 10), memory: { rss, heapUsed, heapTotal } };
  };
}
