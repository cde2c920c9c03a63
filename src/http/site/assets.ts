import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Router } from 'express';

/** Style and script of the pages: plain files, which the build copies as they are. */
const types = { 'site.css': 'text/css', 'site.js': 'text/javascript' } as const;

type AssetName = keyof typeof types;

const assets = new Map(Object.keys(types).map((name) => [name, load(name)] as const));

function load(name: string) {
  const text = readFileSync(new URL(`../assets/${name}`, import.meta.url), 'utf8');
  return { text, version: createHash('sha256').update(text).digest('base64url').slice(0, 10) };
}

/** With its version, so that browsers may keep it for good. */
export function assetUrl(name: AssetName): string {
  return `/assets/${name}?v=${assets.get(name)?.version}`;
}

/** They hold nothing that a stranger may not see. */
export function assetRoutes(): Router {
  const routes = Router();
  routes.get('/assets/:name', (request, response, next) => {
    const { name } = request.params;
    const asset = assets.get(name);
    if (!asset) return next();
    const isThisVersion = request.query.v === asset.version;
    response.set('Cache-Control', isThisVersion ? 'public, max-age=31536000, immutable' : 'no-cache');
    response.type(types[name as AssetName]).send(asset.text);
  });
  return routes;
}
