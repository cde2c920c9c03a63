import { defineJob } from '../define-job.js';

/** Shows that ticks are made, taken and finished: the first thing to look at when a deployment is new or quiet. */
export const heartbeat = defineJob({
  name: 'heartbeat',
  description: 'Says every ten seconds that producers and workers are alive',
  schedules: [{ id: 'heartbeat', every: '10s', triggerOnStart: true }],
  retry: { attempts: 1 },
  timeout: '5s',
  retention: { completed: { count: 100 }, failed: { count: 100 } },
  run({ tick, log }) {
    const latenessMs = tick ? Date.now() - tick.time.getTime() : null;
    log.info({ latenessMs }, 'alive');
    return { latenessMs };
  },
});
