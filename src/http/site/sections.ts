import type { Router } from 'express';
import { dayRoutes } from './day/routes.js';
import type { SiteInput } from './input.js';
import { scheduleRoutes } from './schedules/routes.js';
import { workersPageRoutes } from './workers/routes.js';

export interface Section {
  /** Where it begins: who may not read is refused at it and below. */
  readonly path: string;
  readonly label: string;
  routes(input: SiteInput): Router;
}

/** All pages of Rondo's own, in the order of the navigation. A new one is a line here. */
export const sections: readonly Section[] = [
  { path: '/schedules', label: 'Schedules', routes: scheduleRoutes },
  { path: '/day', label: 'Day', routes: dayRoutes },
  { path: '/workers', label: 'Workers', routes: workersPageRoutes },
];
