// One run of process-data in a process that does nothing else: its time, and its memory at most.
import { processData } from '../dist/jobs/catalog/process-data.js';
import { runJob } from '../dist/testing/index.js';

const [folder, payload] = process.argv.slice(2);
const startedAt = performance.now();
const { result } = await runJob(processData({ folder }), JSON.parse(payload));
const ms = performance.now() - startedAt;
console.log(JSON.stringify({ ms, maxRssMb: Math.round(process.resourceUsage().maxRSS / 1_024), result }));
