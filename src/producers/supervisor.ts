import type { Broker } from '../broker/queues.js';
import { findNewer } from '../broker/releases.js';
import { RondoError } from '../errors.js';
import type { Emit, RondoEvent } from '../jobs/events.js';
import type { Registry } from '../jobs/registry.js';
import { until } from '../lifecycle.js';
import type { AlertChannel } from './alert-outbox.js';
import { createAlertKeeper } from './alerts.js';
import { createBackfillKeeper } from './feed.js';
import { createGoneWatch } from './gone-jobs.js';
import { createLease } from './lease.js';
import { createOwnHealthcheck } from './own-healthcheck.js';
import { apiOwner, ownerOf, type Specification, type Stored, wantedOf } from './plan.js';
import { enqueue } from './runs.js';
import { type Deployment, reconcile } from './schedules.js';
import { areStored } from './store.js';

export interface SupervisorInput extends Deployment {
  readonly broker: Broker;
  readonly registry: Registry;
  readonly emit: Emit;
  readonly now: () => number;
  /** The id of this process, for others to see who leads. */
  readonly process?: string;
  /** Where alerts are sent; nowhere unless told. */
  readonly channels?: readonly AlertChannel[];
  /** The dead man's switch of the producer itself. */
  readonly healthcheckUrl?: string | null;
  /** For how long, in ms, a newer release must have been silent before this one applies: a minute unless told. */
  readonly silentMs?: number;
}

/** Within this and a turn, in ms, another producer takes over from one that died. */
const leaseMs = 8_000;
const turnEveryMs = 2_000;
/** How often the producer in the lead looks whether every chain is sound, in ms. */
const reconcileEveryMs = 10_000;

/**
 * The producer role: one process of an app at a time leads, by a lease, and keeps Redis in line with what the
 * code declares; the others stand by and take over when the lease ends. None leads for a release while a newer one
 * is alive.
 */
export function createSupervisor(input: SupervisorInput) {
  const { broker, registry, emit, app, release, channels = [], healthcheckUrl = null, silentMs = 60_000 } = input;
  const newLease = () => createLease(broker.client, broker.keys.producerLease(app), leaseMs, input.process);
  let lease = newLease();
  const wanted = wantedOf(registry);
  const news = onlyNews(emit);
  const lookForGone = createGoneWatch({ ...input, silentMs });
  const owners = [ownerOf(app), apiOwner];
  const backfills = createBackfillKeeper(broker, ({ owner }) => lease.held() && owners.includes(owner), emit);
  const alerts = createAlertKeeper({ ...input, channels }, () => lease.held());
  const own = createOwnHealthcheck(healthcheckUrl, emit);
  let state: 'new' | 'leading' | 'standby' | 'outdated' = 'new';
  let newer: string | null = null;
  let reconcileAt = 0;
  let lookOnAt = 0;
  let lastInLine: number | undefined;
  let lackedSome = false;
  let lastFailure: string | null = null;
  let stopping = false;
  let timer: NodeJS.Timeout | undefined;
  let turn: Promise<void> = Promise.resolve();

  async function takeTurn(): Promise<void> {
    const found = await findNewer(broker, input, silentMs);
    if (found !== null) return stepAside(found);
    const held = lease.held() || (await lease.acquire());
    if (!held) {
      standBy();
      return lookOn();
    }
    backfills.look();
    if (state === 'leading') alerts.look();
    if (state === 'leading' && performance.now() < reconcileAt) return;
    const toTrigger = await bringInLine();
    if (state !== 'leading') await lead(toTrigger);
    own.beat();
  }

  async function lead(toTrigger: readonly Stored[]): Promise<void> {
    state = 'leading';
    emit({ type: 'producer.leading', app, release });
    for (const job of registry.jobs.filter(({ enabled }) => enabled)) {
      for (const schedule of job.schedules.filter((it) => it.enabled && it.triggerOnStart)) {
        // A schedule's run, which no backlog keeps out.
        await enqueue(broker, { ...job, maxWaiting: null }, schedule.payload);
      }
    }
    for (const { id, specification } of toTrigger) await trigger(id, specification);
  }

  /** What was put at run time may have a payload that the job takes no longer: its own trouble. */
  async function trigger(schedule: string, { job: name, payload }: Specification): Promise<void> {
    const job = registry.find(name);
    if (!job?.enabled) return;
    await enqueue(broker, { ...job, maxWaiting: null }, payload).catch((error: unknown) => {
      if (!(error instanceof RondoError)) throw error;
      emit({ type: 'schedule.failed', job: name, schedule, error });
    });
  }

  function standBy(): void {
    if (state !== 'standby') emit({ type: 'producer.standby', app });
    state = 'standby';
  }

  /** What Redis loses of another's work it may lose before this process leads, with the other's lease. */
  async function lookOn(): Promise<void> {
    if (performance.now() < lookOnAt) return;
    lookOnAt = performance.now() + reconcileEveryMs;
    const at = input.now();
    const found = await areStored(broker, wanted);
    if (found) lastInLine = at;
    // A leader that does not make them again at its next look does not want them.
    else if (lackedSome) lastInLine = undefined;
    lackedSome = !found;
  }

  /** The newer release's producer finds the lease free at its next turn. */
  async function stepAside(found: string): Promise<void> {
    if (state === 'outdated' && newer === found) return;
    emit({ type: 'producer.outdated', app, release, newer: found });
    state = 'outdated';
    newer = found;
    lastInLine = undefined;
    const left = lease;
    lease = newLease();
    await left.release();
  }

  async function bringInLine(): Promise<readonly Stored[]> {
    const startedAt = performance.now();
    const { failed, finished, toTrigger } = await reconcile(
      broker,
      { ...input, wanted, lastInLine, isStart: state === 'new', mayGoOn: lease.held },
      news.emit,
    );
    if (finished && failed.length === 0) lastInLine = input.now();
    await lookForGone();
    news.turnOver();
    // At most a tenth of the time goes into looking, however many schedules there are.
    const tookMs = performance.now() - startedAt;
    reconcileAt = performance.now() + Math.max(reconcileEveryMs, 10 * tookMs);
    return toTrigger;
  }

  /** Once while it stays the same. That Redis is away the connection has told already. */
  function tellFailure(error: unknown): void {
    if (broker.client.status !== 'ready' || String(error) === lastFailure) return;
    lastFailure = String(error);
    emit({ type: 'producer.failed', error });
  }

  function scheduleTurn(): void {
    if (stopping) return;
    timer = setTimeout(() => {
      turn = takeTurn()
        .then(() => {
          lastFailure = null;
        })
        .catch(tellFailure)
        .finally(scheduleTurn);
    }, turnEveryMs);
  }

  return {
    name: 'producer',
    /** Whether this process keeps the schedules in line at this moment. */
    leads: () => state === 'leading' && lease.held(),
    async start() {
      await takeTurn();
      scheduleTurn();
    },
    async stop(deadline: number) {
      stopping = true;
      clearTimeout(timer);
      const finished = Promise.all([turn, backfills.stop(), alerts.stop(), own.stop()])
        .then(() => lease.release())
        .catch(() => {});
      await Promise.race([finished, until(deadline)]);
    },
  };
}

/** What stays wrong from turn to turn is told when it begins. */
function onlyNews(emit: Emit) {
  let lastTurn = new Set<string>();
  let thisTurn = new Set<string>();
  return {
    emit(event: RondoEvent): void {
      const key = lasting.includes(event.type) ? JSON.stringify(event) : null;
      if (key) thisTurn.add(key);
      if (!key || !lastTurn.has(key)) emit(event);
    },
    turnOver(): void {
      lastTurn = thisTurn;
      thisTurn = new Set();
    },
  };
}

const lasting: readonly RondoEvent['type'][] = ['schedule.conflict', 'schedule.failed', 'schedules.removal-refused'];
