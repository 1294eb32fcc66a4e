#!/bin/sh
# PostgreSQL's entrypoint: first start, crash in the middle of it, restart, refusals.
. "$(dirname -- "$0")/rig.sh"
entrypoint=$images/database/jil-database
[ -n "${IMAGE:-}" ] || PATH=/usr/lib/postgresql/15/bin:$PATH

configure() {
  cat > "$etc/config/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$(seen "$runtime")'
shared_buffers = 16MB
CONF
  cat > "$etc/config/pg_hba.conf" <<'CONF'
local all all scram-sha-256
CONF
  printf '%s' "s'u\"p\\er \$x" > "$etc/credentials/superuser-password"
  printf '%s\n' "a'p;p:--\$(id)" > "$etc/credentials/app-password"
  printf '%s' 'health' > "$etc/credentials/health-password"
}

# sql ROLE PASSWORD DATABASE STATEMENT: prints what the server answers.
sql() {
  inside env "PGPASSWORD=$2" psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 \
    --host="$(seen "$runtime")" --username="$1" --dbname="$3" --command="$4" 2>&1
}
app() { sql jil_app "a'p;p:--\$(id)" jil "$1"; }
superuser() { sql postgres "s'u\"p\\er \$x" postgres "$1"; }
health() { sql jil_health health jil "$1"; }

fresh
boot
eventually 60 app 'select 1'
[ "$(superuser 'show data_checksums')" = on ] || fail "checksums are off"
[ "$(superuser "select count(*) from pg_authid where rolpassword not like 'SCRAM-SHA-256%'")" = 0 ] || fail "a password is not SCRAM"
[ "$(superuser "select pg_get_userbyid(datdba) from pg_database where datname = 'jil'")" = jil_app ] || fail "jil_app does not own jil"
app "create table kept (n int); insert into kept values (42)" || fail "jil_app cannot make a table"
health 'select count(*) from pg_stat_activity' >/dev/null || fail "jil_health cannot read the statistics"
if health 'select * from kept' >/dev/null; then fail "jil_health can read the application's data"; fi
if sql jil_app wrong jil 'select 1' >/dev/null; then fail "a wrong password is let in"; fi
if sql jil_app "a'p;p:--\$(id)" postgres 'select 1' >/dev/null; then fail "jil_app can connect to the database postgres"; fi
ok "the first start makes a checksummed cluster with its roles, database and SCRAM passwords from files"

signal INT
wait_exit 20
[ "$code" = 0 ] || fail "SIGINT ended it with code $code"
if grep -q -e "a'p" -e 's.u"p' "$log"; then fail "a password is in the log"; fi
ok "SIGINT stops it cleanly and no password is in its output"

chmod -R g+rwX "$volume"
boot
eventually 30 app 'select n from kept'
[ "$(app 'select n from kept')" = 42 ] || fail "data is gone"
crash
boot
eventually 60 app 'select n from kept'
[ "$(app 'select n from kept')" = 42 ] || fail "data is gone after a crash"
ok "data survives a restart with fsGroup's modes and a crash"

if [ -z "${IMAGE:-}" ]; then
  first=$pid first_log=$log log=$work/second.log
  boot
  expect_refusal 10 'another process uses this volume'
  pid=$first log=$first_log
  signal INT
  wait_exit 20
  ok "a second server on the same volume is refused"
else
  first=$container
  boot
  expect_refusal 10 'another process uses this volume'
  container=$first
  signal INT
  wait_exit 20
  ok "a second container on the same volume is refused"
fi

echo 14 > "$volume/pgdata/PG_VERSION"
boot
expect_refusal 10 'was made by PostgreSQL 14'
rm "$volume/pgdata/PG_VERSION"
boot
expect_refusal 10 'is no PostgreSQL cluster'
[ -e "$volume/pgdata/base" ] || fail "it touched what it refused"
ok "another major version and a directory that is no cluster are refused and left alone"

for delay in 0.05 0.15 0.3 0.45 0.6 0.75 0.9 1.2 2.0; do
  fresh
  boot
  sleep $delay
  crash
  [ ! -e "$volume/pgdata" ] || [ -e "$volume/pgdata/PG_VERSION" ] || fail "pgdata is half made after a crash at $delay s"
  boot
  eventually 60 app 'select 1'
  health 'select 1' >/dev/null || fail "no jil_health after a crash at $delay s"
  signal INT
  wait_exit 20
  [ ! -e "$volume/pgdata.new" ] || fail "pgdata.new is left over"
done
ok "a crash at any moment of the first start leaves nothing that the next start cannot mend"

fresh
: > "$etc/credentials/app-password"
boot
expect_refusal 10 'app-password is empty'
rm "$etc/credentials/app-password"
boot
expect_refusal 10 'app-password is missing'
[ ! -e "$volume/pgdata" ] || fail "it made a cluster without passwords"
ok "a missing or empty password is refused before anything is made"

say "database: $passed checks passed"
