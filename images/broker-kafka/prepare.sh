#!/bin/sh
# Copies Kafka's jars into $OUT/lib and refuses any that is not the one we know. Needs: OUT, REPO, MVN.
# After a change of pom.xml: look at what changed, then `REPO=... OUT=$(mktemp -d) sh prepare.sh --record`.
set -eu
here=$REPO/images/broker-kafka
rm -rf "$OUT/lib"
if ! "${MVN:-mvn}" --quiet --batch-mode -Dstyle.color=never --file "$here/pom.xml" dependency:copy-dependencies \
  "-DoutputDirectory=$OUT/lib"; then
  echo "broker-kafka: Maven could not collect Kafka's jars: it must reach Maven Central, or the mirror of ~/.m2/settings.xml" >&2
  echo "(a proxy belongs there too). A private CA must be known to Java: on Debian put it into" >&2
  echo "/usr/local/share/ca-certificates and run update-ca-certificates" >&2
  exit 1
fi
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
