import type { Emit } from '../jobs/events.js';

/** A process has several connections to one Redis: that it is away, and back, is told once for all of them. */
export function tellRedisOnce(emit: Emit): Emit {
  let away = 0;
  let awayMs = 0;
  return (event) => {
    if (event.type === 'redis.away') {
      away++;
      if (away === 1) emit(event);
    } else if (event.type === 'redis.back') {
      away--;
      awayMs = Math.max(awayMs, event.awayMs);
      if (away > 0) return;
      emit({ ...event, awayMs });
      awayMs = 0;
    } else {
      emit(event);
    }
  };
}
