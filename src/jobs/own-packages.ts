import nodeModule, { createRequire } from 'node:module';

interface ResolveContext {
  parentURL?: string;
}
type NextResolve = (specifier: string, context: ResolveContext) => unknown;

/**
 * Lets modules outside this package import `rondo`, always this copy, and `zod`, where they have none of their
 * own: so a folder of jobs runs without an installation beside it.
 */
export function shareOwnPackages(): void {
  if (shared) return;
  shared = true;
  // Node.js before 22.15 has hooks only on a thread of their own, which loads this very module.
  const { registerHooks } = nodeModule as { registerHooks?: (hooks: { resolve: typeof resolve }) => void };
  if (registerHooks) registerHooks({ resolve });
  else nodeModule.register(import.meta.url);
}

let shared = false;

/** A resolve hook of Node.js's module loader. */
export function resolve(specifier: string, context: ResolveContext, next: NextResolve): unknown {
  const fromHere =
    isFrom('rondo', specifier) || (isFrom('zod', specifier) && !isInstalled(specifier, context.parentURL));
  return next(specifier, fromHere ? { ...context, parentURL: import.meta.url } : context);
}

const isFrom = (name: string, specifier: string) => specifier === name || specifier.startsWith(`${name}/`);

function isInstalled(specifier: string, from?: string): boolean {
  try {
    createRequire(from ?? import.meta.url).resolve(specifier);
    return true;
  } catch {
    return false;
  }
}
