#!/usr/bin/env bash
# npm run test:compose: builds the images and runs docker-compose.yml for real, as an operator would, with podman in the
# place of Docker. Says what it does, what it saw and how long each step took; ends with 1 at the first thing that is wrong.
#
# Everything happens in a copy of this repository and in a storage of its own, which are removed at the end.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=deploy/test/podman.sh
. "$repository/deploy/test/podman.sh"

started=$SECONDS
step_started=$SECONDS
step() { printf '\n%s\n' "== $1"; step_started=$SECONDS; }
saw() { printf '   %s\n' "$*"; }
done_in() { saw "took $((SECONDS - step_started)) s"; }
die() { printf '\nFAILED: %s\n' "$*" >&2; podman logs --tail 20 "$(container worker)" >&2 || true; exit 1; }
same() { [ "$2" = "$3" ] || die "$1: expected '$3', found '$2'"; saw "$1: $2"; }

free_port() { node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'; }
sql() { psql -X -A -t -q -v ON_ERROR_STOP=1 "$(sed "s/@db:5432/@127.0.0.1:$POSTGRES_PORT/" secrets/database_url)" -c "$1"; }
# until_true SECONDS WHAT COMMAND...: asks again and again, and gives up after so many seconds.
until_true() {
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $limit ] || die "waited in vain for: $what"
    sleep 0.1
  done
}
says() { [ "$(sql "$1")" = "$2" ]; }
healthy() { podman healthcheck run "$1"; }
container() { echo "${project}_$1_1"; }
state() { podman inspect "$(container "$1")" --format "{{.State.$2}}"; }
restarted() { [ "$(podman inspect "$(container worker)" --format '{{.RestartCount}}')" = 1 ]; }
insert() { sql "insert into articles (title, body) select 'Article ' || i, 'What article ' || i || ' says of subject ' || i % 97 from generate_series($1, $2) i"; }
# Every row has its vector, and no row has two.
whole() { says "select count(*) = count(e.id) and count(*) = count(distinct a.id) from articles a left join articles_embedding e using (id)" t && says 'select pending + leased + failed from embedder.status' 0; }
worker_up() { compose up -d --no-deps worker >/dev/null && until_true 60 'a ready worker' healthy "$(container worker)"; }

step 'tools and base images'
install_tools
configure_podman
npm_settings
mkdir "$WORK/base" "$WORK/project"
"$repository/deploy/test/base-images.sh" "$WORK/base"
rm -rf "$WORK/base"
done_in

cd "$repository"
git ls-files -co --exclude-standard | tar -cf - -T - | tar -C "$WORK/project" -xf -
cd "$WORK/project"
project=pgembedder
export POSTGRES_PORT PGEMBEDDER_PORT
POSTGRES_PORT=$(free_port)
PGEMBEDDER_PORT=$(free_port)

step 'secrets and images'
deploy/make-secrets.sh
compose build db migrate >"$WORK/build.log" 2>&1 || { tail -40 "$WORK/build.log" >&2; die 'the images cannot be built'; }
podman images --format '   {{.Repository}} {{.Size}}' | grep localhost
done_in

step 'up: database, migration, worker'
compose up -d db >/dev/null
until_true 60 'a healthy database' healthy "$(container db)"
compose up -d migrate >/dev/null
same 'exit code of migrate' "$(podman wait "$(container migrate)")" 0
worker_up
same 'readyz' "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$PGEMBEDDER_PORT/readyz")" 200
same 'metrics without the token' "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$PGEMBEDDER_PORT/metrics")" 401
same 'metrics with it' "$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $(cat secrets/http_token)" "http://127.0.0.1:$PGEMBEDDER_PORT/metrics")" 200
for service in db worker; do
  same "$service: user, read-only, capabilities" "$(podman exec "$(container $service)" sh -c 'touch /x 2>/dev/null; echo $(id -u) $([ -e /x ] && echo writable || echo read-only) $(sed -n "s/^CapEff:\t//p" /proc/self/status)')" \
    "$([ $service = db ] && echo 999 || echo 1000) read-only 0000000000000000"
done
podman exec "$(container worker)" pgembedder doctor >"$WORK/doctor.log" || { cat "$WORK/doctor.log" >&2; die 'the doctor found something'; }; saw "doctor: $(tail -1 "$WORK/doctor.log")"
done_in

step '2,000 rows from outside'
sql 'create table articles (id bigint generated always as identity primary key, title text, body text)'
sql "select embedder.create_pipeline('articles', '{title}\n{body}')" >/dev/null
insert 1 1999
sql "insert into articles (title, body) values ('Apple pie', 'Flour, butter, sugar and sour apples, baked for an hour')"
until_true 120 'all vectors' whole
same 'vectors' "$(sql 'select count(*) from articles_embedding')" 2000
same 'nearest to a text, in SQL, as a role that is no superuser' "$(sql "select row_key from embedder.search('articles', 'how do I make a cake with fruit?', 1)")" 2000
done_in

step 'a backfill by pg_cron'
sql 'delete from articles_embedding where id % 4 = 0' >/dev/null
sql "select embedder.recount('articles')" >/dev/null
same 'vectors left' "$(sql 'select count(*) from articles_embedding')" 1500
sql "select embedder.schedule_backfill('articles', '1 second')" >/dev/null
until_true 60 'a run of the job' says "select count(*) > 0 from cron.job_run_details where status = 'succeeded'" t
until_true 60 'all vectors' whole
sql "select embedder.unschedule_backfill('articles')" >/dev/null
same 'vectors, after a job of pg_cron' "$(sql 'select count(*) from articles_embedding')" 2000
done_in

step 'kill -9 of the worker in the middle of 4,000 rows'
insert 2001 6000
until_true 60 'some of the vectors' says 'select count(*) > 2000 from articles_embedding' t
kill -9 "$(state worker Pid)"
saw "killed with $(sql 'select count(*) from articles_embedding') vectors written"
until_true 60 'the container to be started again' restarted
until_true 120 'all vectors' whole
same 'vectors' "$(sql 'select count(*) from articles_embedding')" 6000
done_in

step 'stop in the middle of 6,000 rows'
insert 6001 12000
until_true 60 'some of the vectors' says 'select count(*) > 6000 from articles_embedding' t
stop_started=$SECONDS
compose stop worker >/dev/null
saw "stopped after $((SECONDS - stop_started)) s, grace period 30 s, with $(sql 'select pending from embedder.status') rows still due"
same 'exit code' "$(state worker ExitCode)" 0
same 'rows still leased' "$(sql 'select leased from embedder.status')" 0
same 'attempts counted' "$(sql 'select coalesce(max(attempts), 0) from embedder.job')" 0
done_in

step 'dump in that state, a new database, restore'
podman exec "$(container db)" pg_dump -U postgres -Fc app >"$WORK/app.dump"
vectors=$(sql 'select count(*) from articles_embedding')
compose down --volumes >/dev/null
compose up -d db >/dev/null
until_true 60 'a healthy database' healthy "$(container db)"
podman exec -i "$(container db)" pg_restore -U postgres -d app --clean --if-exists --exit-on-error <"$WORK/app.dump"
same 'vectors restored' "$(sql 'select count(*) from articles_embedding')" "$vectors"
compose up -d migrate >/dev/null
same 'exit code of migrate' "$(podman wait "$(container migrate)")" 0
worker_up
until_true 180 'all vectors' whole
same 'vectors' "$(sql 'select count(*) from articles_embedding')" 12000
done_in

step 'down'
compose down --volumes >/dev/null
same 'containers left' "$(podman ps -aq | wc -l)" 0
same 'volumes left' "$(podman volume ls -q | wc -l)" 0
done_in

printf '\ncompose: all well after %s s\n' $((SECONDS - started))
