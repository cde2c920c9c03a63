import type { Response } from 'express';

/** Says that the answer waits for something else than us, and how long it takes says nothing of us. */
export function waits(response: Response): void {
  response.locals.waits = true;
}

export const hasWaited = (response: Response): boolean => response.locals.waits === true;

/** Answers with events, as they come, that no proxy before us is to hold back. */
export function beginEvents(response: Response): void {
  waits(response);
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'X-Accel-Buffering': 'no' });
}
