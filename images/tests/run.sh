#!/bin/sh
# Tries the entrypoints of the operands for real: `sh images/tests/run.sh [database|cache|broker-kafka]...`
#
# With IMAGES=<images.json of `python -m testbed images`> and a Docker engine: in the built images, as the cluster runs
# them; REGISTRY=<host:port> where the engine knows the registry by another name. Then every image is also asked for
# its version. Without: with this machine's PostgreSQL 15, Redis, Java 17 and flock, as a user that is not root.
# What cannot be tried is named and makes the run fail.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
failed=''

# The version of every image, told by the image itself under the pods' restrictions.
versions() {
  for name in broker-kafka cache database node operator validator; do
    prerequisites "$name" || return 1
    case $name in
      node | operator) set -- "$IMAGE" python -c 'import jil; print("jil", jil.__version__)' ;;
      validator) set -- "$IMAGE" jil-validator version ;;
      *) set -- "$IMAGE" version ;;
    esac
    told=$(docker run --rm --read-only --user 10001:10001 --cap-drop ALL --network none \
      --security-opt no-new-privileges "$@") || {
      echo "$name: cannot tell its version"
      return 1
    }
    echo "ok  $name: $told"
  done
}

need() { # need TEST COMMAND PACKAGE
  command -v "$2" >/dev/null 2>&1 || {
    echo "$1: cannot be tried, $2 is missing (Debian: $3)"
    return 1
  }
}

prerequisites() {
  if [ -n "${IMAGES:-}" ]; then
    need "$1" docker docker.io || return 1
    IMAGE=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$IMAGES" "$1") || {
      echo "$1: cannot be tried, $IMAGES does not name it"
      return 1
    }
    # The cluster's name of the registry may mean nothing to the engine: REGISTRY is the engine's.
    [ -z "${REGISTRY:-}" ] || IMAGE=$REGISTRY/${IMAGE#*/}
    export IMAGE
    return 0
  fi
  need "$1" setpriv util-linux || return 1
  need "$1" flock util-linux || return 1
  case $1 in
    database) PATH=/usr/lib/postgresql/15/bin:$PATH need "$1" initdb postgresql-15 ;;
    cache) need "$1" redis-server redis-server ;;
    broker-kafka)
      need "$1" java openjdk-17-jre-headless || return 1
      [ -n "${JARS:-}" ] || {
        echo "$1: cannot be tried, JARS is not set (the folder lib that images/broker-kafka/prepare.sh makes)"
        return 1
      }
      ;;
    *)
      echo "$1: there is no such test"
      return 1
      ;;
  esac
}

[ $# -gt 0 ] || set -- database cache broker-kafka
# All at once, each with its own directories and containers: they mostly wait for servers to start and to end.
outputs=$(mktemp -d "${TMPDIR:-/tmp}/jil-images-told.XXXXXX")
trap 'rm -rf "$outputs"' EXIT
for name; do
  {
    code=1
    ! prerequisites "$name" || ! timeout 600 sh "$here/$name.test.sh" || code=0
    echo $code > "$outputs/$name.code"
  } > "$outputs/$name" 2>&1 &
done
wait
for name; do
  cat "$outputs/$name"
  [ "$(cat "$outputs/$name.code")" = 0 ] || failed="$failed $name"
done
[ -z "${IMAGES:-}" ] || versions || failed="$failed versions"
[ -z "$failed" ] || {
  echo "images: failed:$failed"
  exit 1
}
echo "images: all checks passed"
