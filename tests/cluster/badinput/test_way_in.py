"""No cluster, a wrong kubeconfig, the certificate of another server, a token that has expired: told, waited for, mended."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from testbed.certificates import Authority
from tests.cluster.badinput.conftest import QUICK, Bad, environment_without_cluster
from tests.sim.home import Home
from tests.sim.world import ROOT, SYSTEM


def _start(path: str | None) -> tuple[int, str]:
    """Exit code and output of an operator that is set up wrongly: it must end by itself, and at once."""
    environment = environment_without_cluster() | {"PYTHONPATH": str(ROOT / "operator")}
    if path is not None:
        environment["JIL_KUBECONFIG"] = path
    done = subprocess.run(
        [sys.executable, "-m", "jil.controller"], env=environment, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def test_an_operator_without_a_way_in_ends_with_what_to_set(tmp_path: Path) -> None:
    code, told = _start(None)
    assert code == 2
    assert "set JIL_KUBECONFIG to the path of a kubeconfig file" in told
    assert "Traceback" not in told


def test_a_kubeconfig_that_is_none_ends_the_operator_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("- not\n- a kubeconfig\n")
    code, told = _start(str(tmp_path / "config"))
    assert code == 2
    assert f"kubeconfig {tmp_path / 'config'} has not the shape of one" in told
    assert "Traceback" not in told


def test_no_cluster_is_waited_for_and_then_worked_on(bad: Bad, home: Home) -> None:
    bad.door.shut()
    operator = bad.world.operator(kubeconfig=bad.kubeconfig())
    bad.says(operator, "the API server does not answer yet", f"localhost:{bad.door.port}", "check the API server")
    bad.door.open()
    bad.world.node(home.namespace, home.name, home.node_id)
    bad.world.until_ready(home.namespace, home.name)


def test_a_client_certificate_of_another_cluster_ends_the_operator_with_what_to_check(bad: Bad, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger", "another-cluster").client("admin", ["system:masters"])
    user = {"client-certificate": str(stranger.certificate), "client-key": str(stranger.key)}
    operator = bad.world.operator(kubeconfig=bad.kubeconfig(user))
    bad.says(operator, "could not be used at the start", "401 Unauthorized", "check the operator's ServiceAccount")
    assert operator.wait(120) == 1


def test_a_replaced_certificate_is_told_and_the_new_ca_file_is_taken_up(bad: Bad, home: Home, tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    shutil.copy(bad.authority.pair.certificate, ca)
    way_in = bad.kubeconfig(ca=ca)
    operator = bad.world.operator(kubeconfig=way_in, JIL_HEARTBEAT_LIMIT="3", **QUICK)
    bad.leads(operator)
    port = _listens_on(operator.pid)
    # What the watch has begun with is what counts here.
    bad.world.until(lambda: 'jil_watch_events_total{kind="Lease"' in _page(port, "metrics"), "the watch to hear")
    with bad.shows_another_certificate(tmp_path) as other:
        bad.says(operator, "CERTIFICATE_VERIFY_FAILED", "WrongCertificate")
        assert operator.poll() is None
        bad.world.node(home.namespace, home.name, home.node_id)
        shutil.copy(other, ca)
        # Requests take the new file up at once; Kopf keeps the one it began with, which the watchdog notices.
        bad.world.until(lambda: "watch is deaf" in _page(port, "livez"), "the deaf watch to be reported")
        bad.world.kill(operator, signal.SIGTERM)
        bad.world.operator(kubeconfig=way_in)
        bad.world.until_ready(home.namespace, home.name)


def test_an_expired_token_is_told_and_its_successor_taken_up_without_a_restart(
    bad: Bad, home: Home, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    account = _account(bad)
    operator = _leads_in_time(bad, file, account)
    bad.says(operator, "401 Unauthorized", "check the operator's ServiceAccount token")
    bad.world.node(home.namespace, home.name, home.node_id)
    bad.says(operator, "not leading any more")
    assert operator.poll() is None
    assert bad.world.phase(home.namespace, home.name) is None
    file.write_text(_token(bad, account, 600))
    bad.world.until_ready(home.namespace, home.name)
    assert operator.poll() is None


def _leads_in_time(bad: Bad, file: Path, account: dict[str, str]) -> subprocess.Popen[bytes]:
    """An operator that leads with a token which lives for seconds; on a machine too slow for that, for longer."""
    for seconds in (15, 60, 180):
        file.write_text(_token(bad, account, seconds))
        over = time.monotonic() + seconds
        operator = bad.world.operator(kubeconfig=bad.kubeconfig({"tokenFile": str(file)}), **QUICK)
        number = bad.world.operators.index(operator)
        while time.monotonic() < over and operator.poll() is None:
            if "leading with fencing number" in bad.world.log(number):
                return operator
            time.sleep(0.1)
        bad.world.kill(operator)
    raise AssertionError("no operator led within three minutes")


def _listens_on(pid: int) -> int:
    """The port of a process that chose it itself."""
    links = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(one))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *rest = line.split()
        if state == "0A" and f"socket:[{rest[5]}]" in links:
            return int(local.rpartition(":")[2], 16)
    raise AssertionError(f"process {pid} listens nowhere")


def _page(port: int, name: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def _account(bad: Bad) -> dict[str, str]:
    api = bad.world.api
    made = api.create(f"/api/v1/namespaces/{SYSTEM}/serviceaccounts", {"metadata": {"name": "expiring"}})
    group = "rbac.authorization.k8s.io"
    api.create(
        f"/apis/{group}/v1/clusterrolebindings",
        {
            "metadata": {"name": "expiring"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "expiring", "namespace": SYSTEM}],
        },
    )
    return {"name": "expiring", "uid": made["metadata"]["uid"]}


def _token(bad: Bad, account: dict[str, str], seconds: int) -> str:
    """As the API server would issue it, which gives none that lives for less than ten minutes."""
    issuer = "https://kubernetes.default.svc.cluster.local"
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": [issuer],
        "sub": f"system:serviceaccount:{SYSTEM}:{account['name']}",
        "iat": now,
        "nbf": now,
        "exp": now + seconds - 60,  # the API server looks the other way for a minute
        "kubernetes.io": {"namespace": SYSTEM, "serviceaccount": account},
    }

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    signed = part(json.dumps({"alg": "ES256", "typ": "JWT"}).encode()) + "." + part(json.dumps(claims).encode())
    key = serialization.load_pem_private_key((bad.world.plane.folder / "pki" / "sa.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return signed + "." + part(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
