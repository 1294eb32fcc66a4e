# install_python LOCK SOURCE...: puts the wheels of requirements/LOCK into $OUT/site and the given files and folders of
# the package jil into $OUT/app/jil: an image has what it runs, and changes when that does.
# Sourced by operator/prepare.sh and node/prepare.sh. Needs: OUT, REPO, PYTHON (with pip); KEEP may name a folder
# that stays from run to run.
# Runs on the host, which has an index and its certificates; only wheels that are in the lock with their hash are
# taken, for the image's Python (Debian 12: 3.11.2) whatever Python the host runs.

install_python() {
  lock=$1
  shift
  mkdir -p "$OUT"
  rm -rf "$OUT/app"
  mkdir -p "$OUT/app/jil"
  for source; do
    (cd "$(dirname "$source")" && find "$(basename "$source")" -type f ! -name '*.pyc' ! -path '*/__pycache__/*') |
      while IFS= read -r file; do
        mkdir -p "$OUT/app/jil/$(dirname "$file")"
        cp "$(dirname "$source")/$file" "$OUT/app/jil/$file"
      done
  done
  set --
  machine=$(uname -m)
  set -- --platform "manylinux2014_$machine"
  minor=36 # glibc of Debian 12
  while [ $minor -ge 17 ]; do
    set -- "$@" --platform "manylinux_2_${minor}_$machine"
    minor=$((minor - 1))
  done
  rm -rf "$OUT/site"
  # pip would apply the lock's markers to the host's Python (redis needs async-timeout before 3.11.3 only).
  "${PYTHON:-python3}" - "$REPO/requirements/$lock" > "$OUT/lock.txt" <<'PY'
import re, sys
from pip._vendor.packaging.markers import Marker

image = {"python_full_version": "3.11.2", "python_version": "3.11", "implementation_name": "cpython",
         "platform_python_implementation": "CPython", "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", open(sys.argv[1], encoding="utf-8").read()):
    head, _, rest = entry.partition("\n")
    requirement, _, marker = head.removesuffix("\\").partition(" ; ")
    if not marker or Marker(marker.strip()).evaluate(image):
        print(requirement.rstrip() + (" \\" if head.endswith("\\") else ""))
        print(rest, end="")
PY
  # The same lock and the same rules give the same folder: it is kept where the caller keeps things ($KEEP).
  key=$(cat "$OUT/lock.txt" "$REPO/images/install-python.sh" | sha256sum | cut -c 1-16)
  kept=${KEEP:-$OUT}/site-$machine-$key
  if [ ! -d "$kept" ]; then
    rm -rf "${KEEP:-$OUT}"/site-*
    "${PYTHON:-python3}" -m pip --quiet --disable-pip-version-check install \
      --target "$kept.new" --requirement "$OUT/lock.txt" --require-hashes --no-deps --no-compile \
      --only-binary=:all: --implementation cp --python-version 3.11 "$@"
    rm -rf "$kept.new/bin"
    # Tests of the dependencies are no part of an image.
    find "$kept.new" -type d '(' -name tests -o -name __pycache__ ')' -prune -exec rm -rf {} +
    mv "$kept.new" "$kept"
  fi
  if [ -n "${KEEP:-}" ]; then cp -R "$kept" "$OUT/site"; else mv "$kept" "$OUT/site"; fi
  rm "$OUT/lock.txt"
  # One umask for every host: what is in the image does not depend on who built it.
  chmod -R u=rwX,go=rX "$OUT/site" "$OUT/app"
}
