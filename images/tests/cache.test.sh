#!/bin/sh
# Redis' entrypoint: the one ACL user, persistence, refusals.
. "$(dirname -- "$0")/rig.sh"
entrypoint=$images/cache/jil-cache

configure() {
  cat > "$etc/config/redis.conf" <<CONF
port 0
unixsocket $(seen "$runtime")/redis.sock
appendonly yes
appendfsync always
CONF
  printf '%s' "c'a che\$" > "$etc/credentials/cache-password"
}

redis() { inside env "REDISCLI_AUTH=c'a che\$" redis-cli -s "$(seen "$runtime")/redis.sock" --user jil "$@" 2>&1; }
answers() { [ "$(redis ping)" = PONG ]; }

fresh
boot
eventually 20 answers
[ "$(redis set kept 42)" = OK ] || fail "jil cannot write"
case $(inside redis-cli -s "$(seen "$runtime")/redis.sock" get kept 2>&1) in NOAUTH*) ;; *) fail "the default user is let in" ;; esac
case $(redis config get dir) in *NOPERM*|*permission*) ;; *) fail "jil may administer the server" ;; esac
case $(inside env REDISCLI_AUTH=wrong redis-cli -s "$(seen "$runtime")/redis.sock" --user jil ping 2>&1) in *PONG) fail "a wrong password is let in" ;; esac
if grep -q "c'a che" "$runtime/users.acl"; then fail "the password itself is in the ACL file"; fi
ok "only the user jil with the password from the file is let in, without administration"

if [ -z "${IMAGE:-}" ]; then
  first=$pid first_log=$log log=$work/second.log
  boot
  expect_refusal 10 'another process uses this volume'
  pid=$first log=$first_log
else
  first=$container
  boot
  expect_refusal 10 'another process uses this volume'
  container=$first
fi
ok "a second server on the same volume is refused"

crash
boot
eventually 20 answers
[ "$(redis get kept)" = 42 ] || fail "data is gone after a crash"
signal TERM
wait_exit 20
[ "$code" = 0 ] || fail "SIGTERM ended it with code $code"
if grep -q "c'a che" "$log"; then fail "the password is in the log"; fi
ok "data survives a crash, SIGTERM stops it cleanly, the password is not in its output"

printf 'two\nlines\n' > "$etc/credentials/cache-password"
boot
expect_refusal 10 'more than one line'
rm "$etc/credentials/cache-password"
boot
expect_refusal 10 'cache-password is missing'
ok "a password file that is missing or has more than one line is refused"

say "cache: $passed checks passed"
