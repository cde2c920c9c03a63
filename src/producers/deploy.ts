import type { Broker } from '../broker/queues.js';
import { findNewer } from '../broker/releases.js';
import { RondoError } from '../errors.js';
import type { Emit } from '../jobs/events.js';
import type { Registry } from '../jobs/registry.js';
import { isoOr } from '../jobs/words.js';
import { type Change, type Conflict, isEnabled, type Plan, wantedOf } from './plan.js';
import { type Deployment, planNow, reconcile } from './schedules.js';
import { warningsNow } from './warn.js';
import type { Warning } from './warnings.js';

/** One change of a schedule, in plain JSON. Times are ISO. */
export interface ChangeView {
  readonly kind: Change['kind'];
  readonly id: string;
  readonly job: string;
  /** When its next run is due, before and after. */
  readonly before: string | null;
  readonly after: string | null;
  readonly why: string;
}

interface Compared extends Deployment {
  readonly changes: readonly ChangeView[];
  readonly unchanged: number;
  readonly conflicts: readonly Conflict[];
  readonly refused: Plan['refused'];
}

/** What a deploy of this code would change, and what there is to beware of. */
export interface DeployPlan extends Compared {
  readonly warnings: readonly Warning[];
}

/** What a deploy has changed. */
export interface Deployed extends Compared {
  /** Changes that Redis refused, and why. */
  readonly failed: readonly { readonly id: string; readonly error: string }[];
}

/** Whose code is compared with the store. */
export interface DeployInput {
  readonly registry: Registry;
  readonly deployment: Deployment;
  readonly now: () => number;
}

/** What would change in the store for it to hold what this process's code declares. Reads only. */
export async function planDeploy(broker: Broker, { registry, deployment, now }: DeployInput): Promise<DeployPlan> {
  const { app, release } = deployment;
  const wanted = wantedOf(registry);
  const planned = await planNow(broker, { app, release, wanted, now });
  const warnings = await warningsNow(broker, { app, wanted, now: now() });
  return { ...compared(deployment, planned), warnings };
}

/**
 * Makes those changes.
 *
 * @param removeMany though most of what the app has would go
 * @throws RondoError `release-outdated` where a newer release of the app was alive within the minute
 */
export async function deploy(
  broker: Broker,
  { registry, deployment, now, removeMany = false }: DeployInput & { readonly removeMany?: boolean },
  emit: Emit,
): Promise<Deployed> {
  const { app, release } = deployment;
  await refuseOutdated(broker, deployment);
  const done = await reconcile(broker, { app, release, wanted: wantedOf(registry), now, removeMany }, emit);
  const failed = done.failed.map(({ id, error }) => ({ id, error: String(error) }));
  return { ...compared(deployment, done), failed };
}

/** Nobody who applies by hand sees that an older release is about to undo what a newer one has made. */
async function refuseOutdated(broker: Broker, { app, release }: Deployment): Promise<void> {
  const newer = await findNewer(broker, { app, release }, newerWithinMs);
  if (newer === null) return;
  throw new RondoError('release-outdated', `${app} ${release}, and ${newer} is alive`);
}

/** As producers have it. */
const newerWithinMs = 60_000;

function compared({ app, release }: Deployment, { changes, unchanged, conflicts, refused }: Plan): Compared {
  return { app, release, changes: changes.map(changeView), unchanged, conflicts, refused };
}

function changeView(change: Change): ChangeView {
  const { id, specification } = change.kind === 'remove' ? change.stored : change.wanted;
  const { kind, before, after } = change;
  return { kind, id, job: specification.job, before: isoOr(before), after: isoOr(after), why: reasonOf(change) };
}

function reasonOf(change: Change): string {
  switch (change.kind) {
    case 'add':
      return isEnabled(change.wanted) ? 'new' : 'new, disabled';
    case 'change': {
      const others = change.fields.filter((field) => field !== 'enabled').join(', ');
      const switched = isEnabled(change.wanted) ? 'enabled' : 'disabled';
      return [others && `another ${others}`, change.fields.includes('enabled') && switched].filter(Boolean).join('; ');
    }
    case 'heal':
      return change.reason;
    case 'remove':
      return 'no longer declared';
  }
}
