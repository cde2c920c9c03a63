import express, { type NextFunction, type Request, type Response } from 'express';
import { RondoError } from '../errors.js';

const parse = express.json({ limit: '1mb', type: 'application/json' });

/** Reads a JSON body of up to 1 MiB. None at all is fine; one of another type is not read as nothing. */
export function jsonBody(request: Request, response: Response, next: NextFunction): void {
  if (hasBody(request) && !request.is('application/json')) {
    throw new RondoError('body-type', `not ${request.headers['content-type'] ?? 'without a type'}`);
  }
  parse(request, response, next);
}

function hasBody({ headers }: Request): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
