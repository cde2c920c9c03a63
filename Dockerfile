# One image for all roles: the role is the command (producer, worker, api; start runs all three).

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json LICENSE ./
# esbuild is an optional dependency: it comes along here, and stays behind with this stage.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY scripts scripts
COPY bin bin
COPY src src
# Readable for the user node, whatever the umask of the checkout was.
RUN node scripts/build.mjs && chmod -R a+rX bin package.json LICENSE

FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM node:24-bookworm-slim
ENV NODE_ENV=production HOST=0.0.0.0
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/package.json /app/LICENSE ./
COPY --from=build /app/bin bin
COPY --from=build /app/dist dist
USER node
# The API, and metrics where RONDO_METRICS_PORT says so.
EXPOSE 3000 9464
# Asks the role itself, by a socket in /tmp: whether its event loop turns and its Redis answers.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["node", "/app/bin/rondo", "health"]
# Node.js itself is process 1, and handles SIGTERM: no shell and no npm between.
ENTRYPOINT ["node", "/app/bin/rondo"]
CMD ["start"]
