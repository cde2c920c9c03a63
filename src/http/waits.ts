import type { Response } from 'express';

/** Says that the answer waits for something else than us, and how long it takes says nothing of us. */
export function waits(response: Response): void {
  response.locals.waits = true;
}

export const hasWaited = (response: Response): boolean => response.locals.waits === true;
