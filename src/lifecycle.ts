/** A long-lived part of the process. */
export interface Service {
  readonly name: string;
  start(): Promise<void>;
  /** What is under way may go on until the deadline, in ms since the epoch, and is cut short soon after it. */
  stop(deadline: number): Promise<void>;
}

/**
 * Starts parts one after the other, and stops them in reverse, all under one deadline: one that failed to start too,
 * which may have opened something before it did.
 */
export function createLifecycle() {
  const started: Service[] = [];
  return {
    async start(service: Service): Promise<void> {
      started.push(service);
      await service.start();
    },
    /** @throws AggregateError with what failed; one part's failure keeps no other from stopping */
    async stop(deadline: number): Promise<void> {
      const failures: unknown[] = [];
      for (const service of started.splice(0).reverse()) {
        try {
          await service.stop(deadline);
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw new AggregateError(failures, 'some parts did not stop cleanly');
    },
  };
}

/** Resolves at the first SIGINT or SIGTERM. A second one ends the process at once, with the signal's exit code. */
export function untilSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let firstAt: number | null = null;
    const onSignal = (signal: NodeJS.Signals) => {
      const now = performance.now();
      if (firstAt === null) {
        firstAt = now;
        resolve(signal);
        // `npm start` passes on a Ctrl-C that the terminal has sent to the whole process group already.
      } else if (now - firstAt > 500) {
        process.exit(signal === 'SIGINT' ? 130 : 143);
      }
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
}

/** Resolves at a time, in ms since the epoch; keeps no process alive. */
export function until(deadline: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, deadline - Date.now())).unref());
}
