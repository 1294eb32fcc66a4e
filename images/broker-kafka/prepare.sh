#!/bin/sh
# Copies Kafka's jars into $OUT/lib and refuses any that is not the one we know. Needs: OUT, REPO, MVN.
# After a change of pom.xml: look at what changed, then `REPO=... OUT=$(mktemp -d) sh prepare.sh --record`.
set -eu
here=$REPO/images/broker-kafka
rm -rf "$OUT/lib"
"${MVN:-mvn}" --quiet --batch-mode --file "$here/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$OUT/lib"
cd "$OUT/lib"
sha256sum -- *.jar > "$OUT/jars.found"
if [ "${1:-}" = --record ]; then
  cp "$OUT/jars.found" "$here/jars.sha256"
  exit 0
fi
if ! diff "$here/jars.sha256" "$OUT/jars.found"; then
  echo "broker-kafka: these jars are not the recorded ones (< recorded, > found). If pom.xml was changed on purpose, record them: see prepare.sh" >&2
  exit 1
fi
rm "$OUT/jars.found"
chmod 0644 ./*.jar
