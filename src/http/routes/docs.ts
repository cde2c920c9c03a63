import { type RequestHandler, Router } from 'express';
import type { JobDefinition } from '../../jobs/define-job.js';
import type { Registry } from '../../jobs/registry.js';
import { principalIn, requires } from '../guard.js';
import { icon } from '../pages.js';

/**
 * The API's own description, and a page that shows it. Both tell what jobs there are and what they take, and want the
 * scope that lists jobs; a key that is for some jobs is told of these. Neither is made, nor its libraries loaded, before somebody asks.
 */
export function docsRoutes(registry: Registry): Router {
  const routes = Router();
  const documentOf = async (jobs: readonly JobDefinition[]) => {
    const { createDocument } = await import('../openapi/document.js');
    return JSON.stringify(createDocument(jobs));
  };
  const wholeOnce = once(() => documentOf(registry.jobs));
  const pageOnce = once(createPage);

  routes.get('/openapi.json', requires('read'), async (_request, response) => {
    const principal = principalIn(response);
    const ofKey = () => documentOf(registry.jobs.filter(({ name }) => principal?.mayUse(name)));
    const document = await (principal?.restricted ? ofKey() : wholeOnce());
    response.type('application/json').set('Cache-Control', 'no-store').send(document);
  });

  // Its assets are named relative to it.
  routes.get(/^\/docs$/, (_request, response) => response.redirect(303, '/docs/'));
  routes.get('/docs/', requires('read'), async (_request, response) => {
    response.send((await pageOnce()).html);
  });
  routes.get('/docs/:asset', requires('read'), async (request, response, next) => {
    if (!assets.has(String(request.params.asset))) return next();
    request.url = `/${request.params.asset}`;
    (await pageOnce()).serveAsset(request, response, next);
  });

  return routes;
}

/** Of all that Swagger UI brings along, what its page asks for. */
const assets = new Set([
  'swagger-ui.css',
  'swagger-ui-bundle.js',
  'swagger-ui-standalone-preset.js',
  'swagger-ui-init.js',
]);

async function createPage() {
  const { default: swagger } = await import('swagger-ui-express');
  const options = {
    swaggerUrl: '/openapi.json',
    customSiteTitle: 'Rondo: the API',
    customfavIcon: icon,
    customCss: '.swagger-ui .topbar { display: none }',
    // It would ask a service elsewhere whether the document is valid.
    swaggerOptions: { validatorUrl: null, filter: true, displayRequestDuration: true, defaultModelsExpandDepth: 0 },
  };
  const [init, files] = swagger.serveFiles(undefined, options) as [RequestHandler, RequestHandler];
  // It answers the page, whatever its types say.
  const html = String(swagger.generateHTML(undefined, options));
  const serveAsset: RequestHandler = (request, response, next) => {
    init(request, response, (error) => (error ? next(error) : files(request, response, next)));
  };
  return { html, serveAsset };
}

/** What failed is tried again at the next call. */
function once<Made>(make: () => Promise<Made>): () => Promise<Made> {
  let made: Promise<Made> | null = null;
  return () => {
    made ??= make().catch((error) => {
      made = null;
      throw error;
    });
    return made;
  };
}
