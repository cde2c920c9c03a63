import type { Emit } from '../jobs/events.js';

/** A worker is outdated once for each version that it meets, not for each run of it. */
export function outdatedOnce(emit: Emit): Emit {
  const told = new Set<number>();
  return (event) => {
    if (event.type === 'worker.outdated') {
      if (told.has(event.version)) return;
      told.add(event.version);
    }
    emit(event);
  };
}
