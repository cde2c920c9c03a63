import express, { type NextFunction, type Request, type Response } from 'express';
import { RondoError } from '../errors.js';

const parse = express.json({ limit: '1mb', type: 'application/json' });

/** Reads a JSON body of up to 1 MiB. None at all is fine; one of another type is not read as nothing. */
export function jsonBody(request: Request, response: Response, next: NextFunction): void {
  if (hasBody(request) && !request.is('application/json')) {
    throw new RondoError('body-type', `not ${request.headers['content-type'] ?? 'without a type'}`);
  }
  parse(request, response, (error?: unknown) => {
    if (error === undefined && isDeeper(request.body, deepest)) next(new RondoError('request-invalid', '', tooDeep));
    else next(error);
  });
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
