# The bench on which the entrypoints are tried: directories like the pod's mounts, one running operand, deadlines.
# Sourced by the *.test.sh files. Two backends with one interface:
#   host       (default)         the entrypoint script itself, with this machine's binaries, as a user that is not root
#   container  (IMAGE=<ref> set) the built image: read-only root, uid 10001, no capabilities, no network
#
#   fresh            a new empty volume, with configuration and credentials made by the test's `configure`
#   boot             start the operand, output to $log;  halt SIGNAL / crash   end it;  wait_exit SECONDS -> $code
#   inside CMD...    run a command where the operand runs
#   eventually SECONDS CMD...   repeat until it succeeds
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
images=$(dirname "$here")
work=$(mktemp -d "${TMPDIR:-/tmp}/jil-images.XXXXXX")
chmod 0755 "$work"
volume=$work/volume etc=$work/etc runtime=$work/run log=$work/log pid='' container='' code='' passed=0

say() { printf '%s\n' "$*"; }
fail() {
  say "FAILED: $*"
  [ ! -s "$log" ] || { say "--- last output:"; tail -n 30 "$log"; }
  exit 1
}
ok() { passed=$((passed + 1)); say "ok  $*"; }

cleanup() {
  [ -z "$container" ] || docker rm --force "$container" >/dev/null 2>&1 || true
  [ -z "$pid" ] || kill -9 "-$pid" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

if [ -n "${IMAGE:-}" ]; then
  owner=10001:10001
elif [ "$(id -u)" = 0 ]; then
  owner=$(id -u nobody):$(id -g nobody)
else
  owner=$(id -u):$(id -g)
fi

# As $owner, which the kubelet would do by fsGroup; a group only, so that root-owned mounts are tried too.
as_owner() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid="${owner%:*}" --regid="${owner#*:}" --clear-groups "$@"; else "$@"; fi
}

fresh() {
  rm -rf "$volume" "$etc" "$runtime"
  mkdir -p "$volume" "$runtime" "$etc/config" "$etc/credentials"
  [ "$(id -u)" != 0 ] || chgrp "${owner#*:}" "$volume" "$runtime"
  chmod 2775 "$volume" "$runtime"
  configure
  chmod -R go+rX "$etc"
}

boot() {
  : > "$log"
  if [ -n "${IMAGE:-}" ]; then
    container=jil-image-test-$$-$(date +%s%N)
    docker run --detach --name "$container" --read-only --user 10001:10001 --cap-drop ALL --network none \
      --security-opt no-new-privileges --volume "$volume:/var/lib/jil" --volume "$etc:/etc/jil:ro" \
      --volume "$runtime:/run/jil" --tmpfs /tmp:exec,mode=1777 "$IMAGE" "$@" >/dev/null
  else
    setsid sh -c 'exec "$@"' - "$here/as-owner" "$owner" \
      env "JIL_VOLUME=$volume" "JIL_ETC=$etc" "JIL_RUNTIME=$runtime" "$entrypoint" "$@" >"$log" 2>&1 &
    pid=$!
  fi
}

inside() {
  if [ -n "${IMAGE:-}" ]; then
    docker exec "$container" "$@"
  else
    as_owner "$@"
  fi
}

# Where the operand sees the bench's directories.
seen() {
  if [ -z "${IMAGE:-}" ]; then say "$1"; return; fi
  case $1 in
    "$volume"*) say "/var/lib/jil${1#"$volume"}" ;;
    "$etc"*) say "/etc/jil${1#"$etc"}" ;;
    "$runtime"*) say "/run/jil${1#"$runtime"}" ;;
  esac
}

signal() {
  if [ -n "${IMAGE:-}" ]; then docker kill --signal "$1" "$container" >/dev/null; else kill -s "$1" "$pid"; fi
}

# Ends it at once with everything it started, as a lost machine would.
crash() {
  if [ -n "${IMAGE:-}" ]; then docker kill "$container" >/dev/null 2>&1 || true; else kill -9 "-$pid" 2>/dev/null || true; fi
  wait_exit 20
  # What the dead process started may need a moment to notice; a container's end leaves nothing behind.
  [ ! -e "$volume/jil.lock" ] || flock --timeout 20 "$volume/jil.lock" true || fail "what it started lives on"
}

wait_exit() {
  if [ -n "${IMAGE:-}" ]; then
    code=$(timeout "$1" docker wait "$container") || fail "still runs after $1 s"
    docker logs "$container" > "$log" 2>&1
    docker rm "$container" >/dev/null
    container=
    return
  fi
  left=$(($1 * 10))
  while kill -0 "$pid" 2>/dev/null; do
    left=$((left - 1))
    [ $left -gt 0 ] || fail "still runs after $1 s"
    sleep 0.1
  done
  code=0
  wait "$pid" || code=$?
  pid=
}

running() {
  if [ -n "${IMAGE:-}" ]; then
    [ "$(docker inspect --format '{{.State.Running}}' "$container" 2>/dev/null)" = true ]
  else
    kill -0 "$pid" 2>/dev/null
  fi
}

eventually() {
  seconds=$1
  shift
  end=$(($(date +%s) + seconds))
  until "$@" >/dev/null 2>&1; do
    running || { [ -z "${IMAGE:-}" ] || docker logs "$container" > "$log" 2>&1; fail "it ended while this was awaited: $*"; }
    [ "$(date +%s)" -lt $end ] || { [ -z "${IMAGE:-}" ] || docker logs "$container" > "$log" 2>&1; fail "not within $seconds s: $*"; }
    sleep 0.2
  done
}

# expect_refusal SECONDS PATTERN: the operand ends by itself with an error that says PATTERN.
expect_refusal() {
  wait_exit "$1"
  [ "$code" != 0 ] || fail "it ended with code 0 instead of refusing"
  grep -q -- "$2" "$log" || fail "the output does not say: $2"
}
