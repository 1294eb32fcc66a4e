#!/bin/sh
# Builds the static validator binary into $OUT. Needs: OUT, REPO, GO.
set -eu
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$REPO/pyproject.toml" | head -n 1)
cd "$REPO/images/validator"
CGO_ENABLED=0 "${GO:-go}" build -trimpath -buildvcs=false \
  -ldflags "-s -w -X main.version=${version:?pyproject.toml has no version}" \
  -o "$OUT/jil-validator" ./cmd/jil-validator
chmod 0755 "$OUT/jil-validator"
