import express, { type NextFunction, type Request, type RequestHandler, type Response } from 'express';
import { RondoError } from '../errors.js';

/** Reads a JSON body of up to 1 MiB. None at all is fine; one of another type is not read as nothing. */
export const jsonBody = jsonBodyUpTo('1mb');

/** The same for bodies of another size. */
export function jsonBodyUpTo(limit: string): RequestHandler {
  const parse = express.json({ limit, type: 'application/json' });
  return (request: Request, response: Response, next: NextFunction) => {
    if (hasBody(request) && !request.is('application/json')) {
      throw new RondoError('body-type', `not ${request.headers['content-type'] ?? 'without a type'}`);
    }
    parse(request, response, (error?: unknown) => {
      if (error === undefined && isDeeper(request.body, deepest)) next(new RondoError('request-invalid', '', tooDeep));
      else next(error);
    });
  };
}

/** What is nested by the thousand ends the stack of whoever walks through it: zod, JSON.stringify, a board. */
const deepest = 100;
const tooDeep = { problems: [{ where: 'value', expected: `at most ${deepest} levels of nesting`, got: 'more' }] };

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeper(item, levels - 1));
}

function hasBody({ headers }: Request): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
