#!/bin/sh
# Kafka's entrypoint: formatting once, also when interrupted; restart, crash, refusals.
# On the host it needs the jars (JARS, made by images/broker-kafka/prepare.sh) and a Python with confluent-kafka (PYTHON).
. "$(dirname -- "$0")/rig.sh"
entrypoint=$images/broker-kafka/jil-broker
cluster=MkU3OEVBNTcwNTJENDM2Qg

listening() { inside bash -c "exec 3<>/dev/tcp/127.0.0.1/$1" 2>/dev/null; }
port=19092
if [ -z "${IMAGE:-}" ]; then
  export JIL_KAFKA_JARS="${JARS:?set JARS to the folder that images/broker-kafka/prepare.sh filled}"
  export TMPDIR=/tmp KAFKA_HEAP_OPTS='-Xms64m -Xmx192m' # of the profile `dev`
  while listening $port || listening $((port + 1)); do port=$((port + 7)); done
fi

configure() {
  cat > "$etc/config/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$(seen "$volume")/kafka
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
CONF
  echo $cluster > "$etc/config/cluster-id"
}

# broker produce|consume: one record through topic `kept`, over the Kafka protocol.
broker() {
  "${PYTHON:-python3}" - "$1" 127.0.0.1:$port <<'PY'
import sys, time
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

what, address = sys.argv[1:]
if what == "produce":
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(20)
    producer = Producer({"bootstrap.servers": address, "acks": "all"})
    producer.produce("kept", b"42")
    sys.exit(producer.flush(20))
consumer = Consumer({"bootstrap.servers": address, "group.id": "test", "auto.offset.reset": "earliest"})
consumer.subscribe(["kept"])
end = time.monotonic() + 30
while time.monotonic() < end:
    message = consumer.poll(1)
    if message is not None and message.error() is None:
        sys.exit(message.value() != b"42")
sys.exit("nothing came")
PY
}

for delay in 0.3 1.0 1.8; do
  fresh
  boot
  sleep $delay
  crash
done
boot
eventually 90 listening $port
grep -q "cluster.id=$cluster" "$volume/kafka/meta.properties" || fail "not formatted for the cluster id given"
[ ! -e "$volume/format.new" ] || fail "format.new is left over"
ok "the first start formats the storage, also after being interrupted"

if [ -z "${IMAGE:-}" ]; then
  broker produce || fail "cannot produce"
fi
if [ -z "${IMAGE:-}" ]; then first=$pid first_log=$log log=$work/second.log; else first=$container; fi
boot
expect_refusal 10 'another process uses this volume'
if [ -z "${IMAGE:-}" ]; then pid=$first log=$first_log; else container=$first; fi
ok "a second broker on the same volume is refused"

signal TERM
wait_exit 30
[ "$code" = 143 ] || [ "$code" = 0 ] || fail "SIGTERM ended it with code $code"
boot
eventually 90 listening $port
crash
boot
eventually 90 listening $port
if [ -z "${IMAGE:-}" ]; then
  broker consume || fail "the record is gone after a restart and a crash"
fi
ok "records survive a restart and a crash"
crash

echo AnotherClusterIdABCDEF > "$etc/config/cluster-id"
boot
expect_refusal 10 "belongs to cluster '$cluster'"
echo $cluster > "$etc/config/cluster-id"
rm "$volume/kafka/meta.properties"
boot
expect_refusal 10 'holds log segments but no meta.properties'
sed -i 's|^log.dirs=.*|log.dirs=/elsewhere|' "$etc/config/server.properties"
boot
expect_refusal 10 'log.dirs must be a directory below'
ok "another cluster's volume, a damaged one and a wrong log.dirs are refused and left alone"

say "broker-kafka: $passed checks passed"
