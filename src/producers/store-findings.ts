import type { ActiveFacts, QueueFacts } from '../broker/queue-facts.js';
import { briefly } from '../jobs/words.js';
import { type Finding, some } from './finding.js';
import { apiOwner, ownerOf } from './plan.js';
import type { StoreFacts } from './store-facts.js';

/** What there is to say of what Redis holds under a prefix. Pure. */
export function judgeStore(facts: StoreFacts): Finding[] {
  return [
    ...judgeLeads(facts),
    ...judgeBroken(facts),
    ...judgeSchedules(facts),
    ...judgeStrays(facts),
    ...facts.queues.flatMap((queue) => judgeQueue(queue, facts)),
    ...judgeProcesses(facts),
    ...judgeSight(facts),
  ];
}

function judgeLeads({ leads, app }: StoreFacts): Finding[] {
  const without = leads.filter(({ led }) => !led).map((it) => it.app);
  return without.map((name) => {
    const what = `no producer leads for the app ${name}: nobody heals its schedules, nor puts a deploy into effect`;
    const todo = `Start one: rondo producer${name === app ? '' : `, with the jobs of ${name}`}`;
    return finding('no-producer', name === app ? 'serious' : 'warning', what, todo);
  });
}

function judgeBroken({ schedules, leads, app }: StoreFacts): Finding[] {
  const broken = schedules.filter(({ health }) => health === 'broken');
  return broken.map(({ id, owner, why }) => {
    const led = leads.some((it) => it.led && (owner === apiOwner || owner === ownerOf(it.app)));
    const whose =
      owner === apiOwner || owner === ownerOf(app) ? '' : ` It belongs to ${owner}: run doctor with its jobs.`;
    const what = `the schedule ${id} is broken: ${why}. No further tick of it runs`;
    if (!led)
      return finding('schedule-broken', 'serious', what, `Heal it: rondo doctor --fix, or start a producer.${whose}`);
    const todo = `The producer heals it within about 15 s: look again. If it stays so: rondo doctor --fix.${whose}`;
    return finding('schedule-broken', 'warning', what, todo);
  });
}

function judgeSchedules({ schedules, unreadable, conflicts }: StoreFacts): Finding[] {
  const idsOf = (health: string) => schedules.filter((it) => it.health === health).map(({ id }) => id);
  const found: Finding[] = [];
  const late = idsOf('late');
  if (late.length > 0) {
    const what = `due for more than 5 s, and no worker has taken them: ${some(late)}`;
    const todo =
      'See below whether workers of their jobs are alive; if so, they are busy: start more, or raise concurrency';
    found.push(finding('schedules-late', 'warning', what, todo));
  }
  const held = idsOf('held');
  if (held.length > 0) {
    const what = `no longer declared, or disabled in code, which waits for somebody's word: ${some(held)}`;
    const todo = 'Say yes: rondo schedules apply --yes; or declare them again. They go on until then';
    found.push(finding('schedules-held', 'warning', what, todo));
  }
  const broken = [...unreadable, ...idsOf('ledger unreadable')];
  if (broken.length > 0) {
    const what = `entries or ledgers that this release cannot read: ${some(broken)}`;
    const todo = 'A newer release, or a hand, has written them: use that release, or put the schedule again';
    found.push(finding('schedules-unreadable', 'serious', what, todo));
  }
  for (const { id, reason } of conflicts) {
    const todo = 'Give one of the two another id: the declared one does not take effect';
    found.push(
      finding('schedule-conflict', 'serious', `the schedule ${id} cannot become what is declared: ${reason}`, todo),
    );
  }
  return found;
}

function judgeStrays({ strays }: StoreFacts): Finding[] {
  const jobs = [...new Set(strays.map(({ job }) => job))];
  return jobs.map((job) => {
    const ids = strays.filter((it) => it.job === job).map(({ scheduler }) => scheduler);
    const what = `job schedulers of BullMQ in the queue of ${job} that belong to no schedule: ${some(ids)}. Workers skip their runs`;
    const todo = `Remove them on the board, or with BullMQ's removeJobScheduler; or make them schedules: rondo schedules put`;
    return finding('scheduler-stray', 'warning', what, todo);
  });
}

function judgeQueue(queue: QueueFacts, facts: StoreFacts): Finding[] {
  return [...judgeWaiting(queue, facts), ...judgeLocks(queue, facts)];
}

/** How many processes take runs of a job. */
function workersOf(job: string, { processes }: StoreFacts): number {
  return processes.filter(({ jobs, state }) => state === 'working' && jobs.some(({ name }) => name === job)).length;
}

/** Runs that nobody takes. */
function judgeWaiting({ job, waiting, delayed, failed, paused }: QueueFacts, facts: StoreFacts): Finding[] {
  if (!facts.known.has(job)) {
    const what = `a queue under the prefix that no app declares: ${job} (waiting ${waiting}, delayed ${delayed}, failed ${failed})`;
    const todo = 'Where it is of another program, give that another prefix; else declare the job, or remove its keys';
    return [finding('queue-unknown', waiting > 0 ? 'warning' : 'note', what, todo)];
  }
  if (waiting === 0 || paused) return [];
  if (facts.declared?.get(job) === false) {
    const what = `${waiting} runs of ${job} wait, and the job is disabled here`;
    return [finding('job-disabled', 'note', what, `Enable it, or leave it: they wait`)];
  }
  if (workersOf(job, facts) > 0) return [];
  const what = `${waiting} runs of ${job} wait, and no worker of it is alive`;
  const todo = `Start one: rondo worker${facts.declared && !facts.declared.has(job) ? ', with a release that has the job' : ''}`;
  return [finding('no-worker', 'serious', what, todo)];
}

/** Longer than this without a lock, in ms, and nobody gives a run to another worker. */
const abandonedMs = 120_000;

function judgeLocks({ job, active }: QueueFacts, facts: StoreFacts): Finding[] {
  const found: Finding[] = [];
  const endless = active.filter(({ lock }) => lock === 'endless').map(({ run }) => run);
  if (endless.length > 0) {
    const what = `runs of ${job} whose lock never ends: ${some(endless)}. Where their worker is dead they are never run again`;
    const todo = 'Give the locks an end: rondo doctor --fix. A worker that lives renews its own';
    found.push(finding('lock-endless', 'serious', what, todo));
  }
  const left = active.filter(({ lock }) => lock === 'none');
  if (left.length === 0) return found;
  const ids = some(left.map(({ run }) => run));
  const oldest = oldestOf(left, facts.now);
  if (workersOf(job, facts) === 0) {
    const what = `runs of ${job} count as active, and their worker is gone: ${ids}. No other is alive`;
    found.push(finding('run-abandoned', 'serious', what, 'Start a worker: it takes them within about 40 s'));
  } else if (oldest > abandonedMs) {
    const what = `runs of ${job} are active without a lock, the oldest for ${briefly(oldest)}: ${ids}`;
    const todo = 'Workers look for such runs every 5 s: see their log for errors, and start one anew';
    found.push(finding('run-abandoned', 'serious', what, todo));
  } else {
    const what = `runs of ${job} whose worker is gone: ${ids}`;
    found.push(finding('run-abandoned', 'note', what, 'None: another worker takes them within about 40 s'));
  }
  return found;
}

function oldestOf(active: readonly ActiveFacts[], now: number): number {
  return Math.max(...active.map(({ since }) => now - (since ?? now)));
}

/** Less than this apart, in ms, clocks are no matter; more than that, ticks run twice or long before their time. */
const skew = { allowedMs: 500, seriousMs: 2_000 };

function judgeProcesses({ processes }: StoreFacts): Finding[] {
  const found: Finding[] = [];
  for (const { host, pid, roles, clockAheadMs } of processes) {
    const apart = Math.abs(clockAheadMs);
    if (apart <= skew.allowedMs) continue;
    const what = `the clock of the ${roles.join(' and ')} process ${pid} on ${host} is ${briefly(apart)} ${clockAheadMs > 0 ? 'ahead of' : 'behind'} that of Redis`;
    const todo = 'Keep the clocks of all machines in line (NTP): ticks are judged by them';
    const severity = apart > skew.seriousMs ? 'serious' : 'warning';
    found.push({ about: 'clock', code: 'clock-skew', severity, what, todo });
  }
  const silent = processes.filter(({ state }) => state === 'silent').map(({ host, pid }) => `${pid} on ${host}`);
  if (silent.length > 0) {
    const what = `processes that have told nothing for more than 12 s: ${some(silent)}`;
    const todo =
      'They were killed, or their event loop stands still: rondo workers list; one that is gone is forgotten within 30 s';
    found.push(finding('process-silent', 'warning', what, todo));
  }
  return found;
}

function judgeSight({ complete, declared }: StoreFacts): Finding[] {
  const found: Finding[] = [];
  if (!complete) {
    const what =
      'not all keys could be looked at, since there are very many or SCAN is refused: queues that nobody knows may be missing here';
    found.push(finding('queues-unseen', 'note', what, 'None'));
  }
  if (declared === null) {
    const what = 'the jobs could not be loaded: what they declare was not compared with Redis';
    found.push(finding('jobs-unseen', 'note', what, 'Mend them, and look again'));
  }
  return found;
}

function finding(code: string, severity: Finding['severity'], what: string, todo: string): Finding {
  return { about: 'bullmq', code, severity, what, todo };
}
