"""A Kubernetes control plane of plain processes on loopback: etcd, kube-apiserver, kube-controller-manager.

A real API server (CEL, server-side apply, admission, garbage collection, StatefulSet controller) in a few seconds,
without root, without containers; several side by side. There is no kubelet, so no pod ever runs. Every process dies
with the process that started the control plane.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed import audit, binaries, paths
from testbed.apiclient import ApiClient, ApiError
from testbed.certificates import Authority, KeyPair, signing_key
from testbed.errors import BedError
from testbed.ports import LOOPBACK, free_ports, require_free
from testbed.processes import end, hold, spawn_bound, tail, wait_until
from testbed.progress import say

APISERVER = "kube-apiserver"
CONTROLLERS = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
ETCD = "etcd"

_START_DEADLINE_S = 60.0


class ControlPlane:
    """One control plane. ``with ControlPlane() as cp:`` or start() and stop(). With ``keep`` its files stay for a look.

    url: ``https://127.0.0.1:port``, the same over restarts. kubeconfig: file of a cluster admin. audit_log: JSON
    lines of the API server. admin: ApiClient as that admin. folder: everything it wrote; gone after stop().
    """

    def __init__(
        self,
        *,
        scheduler: bool = False,
        service_cidr: str = "10.96.0.0/16",
        apiserver_flags: Sequence[str] = (),
        controller_flags: Sequence[str] = (),
        keep: bool = False,
    ) -> None:
        self.service_cidr = service_cidr
        self._scheduler = scheduler
        self._keep = keep
        self._flags: dict[str, list[str]] = {APISERVER: list(apiserver_flags), CONTROLLERS: list(controller_flags)}
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Start everything; returns when requests are served and controllers work. Raises BedError with logs if not."""
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=f"control-plane-{os.getpid()}-", dir=paths.runs()))
        try:
            self._make_files()
            self._spawn(ETCD)
            self._spawn(APISERVER)
            self._wait_serving()
            self._spawn(CONTROLLERS)
            if self._scheduler:
                self._spawn(SCHEDULER)
            self._wait_for("the default ServiceAccount", self._default_account_exists)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process and remove the data (or say where it is kept). Idempotent."""
        for name in (SCHEDULER, CONTROLLERS, APISERVER, ETCD):
            child = self._children.pop(name, None)
            if child:
                # Data is thrown away with the processes: nothing is gained by an orderly end.
                child.kill()
                child.wait()
        if self._keep and self.folder.exists():
            kept = paths.cache_root() / "logs" / self.folder.name
            kept.parent.mkdir(exist_ok=True)
            shutil.move(self.folder, kept)
            say(f"logs, audit log and data of the control plane are kept in {kept}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> ControlPlane:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------------ access

    @property
    def url(self) -> str:
        """Base URL of the API server."""
        return f"https://{LOOPBACK}:{self._ports[APISERVER]}"

    @property
    def ca_file(self) -> Path:
        """The CA that signed the API server's certificate and signs client certificates."""
        return self._authority.pair.certificate

    @property
    def kubectl(self) -> Path:
        """A kubectl of the same version."""
        return binaries.component("kubectl")

    def pids(self) -> dict[str, int]:
        """Process ids of the running components by name."""
        return {name: child.pid for name, child in self._children.items() if child.poll() is None}

    def client(self, user: str = "admin", groups: Sequence[str] = (), agent: str = "testbed") -> ApiClient:
        """A client as any user: a fresh certificate unless it is the admin."""
        return ApiClient(self.url, self.ca_file, self._pair_of(user, groups), agent=agent)

    def kubeconfig_for_user(self, user: str, groups: Sequence[str] = (), namespace: str = "default") -> Path:
        """A kubeconfig file (everything inline) for a user by client certificate; RBAC is the caller's business."""
        pair = self._pair_of(user, groups)
        login = {"client-certificate-data": _inline(pair.certificate), "client-key-data": _inline(pair.key)}
        return self._write_kubeconfig(user, login, namespace)

    def kubeconfig_for_service_account(self, namespace: str, name: str, seconds: int = 3600) -> Path:
        """A kubeconfig file with a token of an existing ServiceAccount (TokenRequest), valid for ``seconds``."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.admin.create(path, {"spec": {"expirationSeconds": seconds}})
        return self._write_kubeconfig(f"{namespace}.{name}", {"token": answer["status"]["token"]}, namespace)

    def audit_position(self) -> int:
        """Bytes in the audit log now; pass it to audit_entries to see only what came after."""
        return self.audit_log.stat().st_size if self.audit_log.exists() else 0

    def audit_entries(self, since: int = 0) -> Iterator[dict[str, Any]]:
        """Audit events after byte ``since``, with everything that was answered before this call.

        The server writes an event just after it has answered, so a marker request is sent and waited for first.
        """
        marker = f"testbed-audit-marker-{os.getpid()}-{time.monotonic_ns()}"
        needle = marker.encode()
        # Before the request: what others have done since may be more than one looks back over.
        start = self.audit_position()
        self.client(agent=marker).get("/api/v1/namespaces/default")

        def written() -> bool:
            with self.audit_log.open("rb") as log:
                log.seek(start)
                return needle in log.read()

        wait_until(written, "the audit log to be up to date", 60.0, 0.01)
        return (entry for entry in audit.entries(self.audit_log, since) if entry.get("userAgent") != marker)

    def log_of(self, component: str) -> Path:
        """Output of one component."""
        return self.folder / f"{component}.log"

    # ------------------------------------------------------------------ faults

    def restart_apiserver(self, extra_flags: Sequence[str] | None = None, down_s: float = 0.0) -> None:
        """Stop the API server, stay away for ``down_s`` seconds, start it at the same address; returns when it serves.

        ``extra_flags`` replaces the flags given to the constructor until the next call that gives some.
        Requests in flight get 1 s to end; the server itself would wait a minute for clients that keep connections.
        """
        self.stop_component(APISERVER, grace_s=1.0)
        time.sleep(down_s)
        if extra_flags is not None:
            self._flags[APISERVER] = list(extra_flags)
        self.start_component(APISERVER)

    def stop_component(self, name: str, grace_s: float = 10.0) -> None:
        """End one component (SIGTERM, then SIGKILL)."""
        end(self._children.pop(name), grace_s)

    def kill_component(self, name: str) -> None:
        """SIGKILL one component: a crash."""
        end(self._children.pop(name), 0.0)

    def start_component(self, name: str) -> None:
        """Start a component that was stopped; for the API server returns when it serves."""
        self._spawn(name)
        if name == APISERVER:
            self._wait_serving()

    def pause(self, name: str) -> None:
        """SIGSTOP: the component hangs, its connections stay open. Nothing is answered once this has returned."""
        hold(self._children[name].pid)

    def resume(self, name: str) -> None:
        """SIGCONT."""
        self._children[name].send_signal(signal.SIGCONT)

    # ------------------------------------------------------------------ inside

    def _make_files(self) -> None:
        self.audit_log = self.folder / "audit.log"
        self.kubeconfig = self.folder / "admin.kubeconfig"
        self._ports = dict(zip((ETCD, "etcd-peer", APISERVER), free_ports(3), strict=True))
        self._authority = Authority(self.folder / "pki", "jil-testbed-control-plane")
        first = self.service_cidr.split("/")[0].rsplit(".", 1)[0] + ".1"
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        alternatives = [f"DNS:{name}" for name in names] + [f"IP:{LOOPBACK}", f"IP:{first}"]
        self._serving = self._authority.server(APISERVER, alternatives)
        self._admin = self._authority.client("admin", ["system:masters"])
        signing_key(self._pki("sa.key"), self._pki("sa.pub"))
        login = {
            "client-certificate-data": _inline(self._admin.certificate),
            "client-key-data": _inline(self._admin.key),
        }
        self._write_kubeconfig("admin", login, "default")
        for user in (CONTROLLERS, SCHEDULER) if self._scheduler else (CONTROLLERS,):
            self.kubeconfig_for_user(f"system:{user}")
        self.admin = self.client()

    def _pki(self, name: str) -> Path:
        return self._authority.folder / name

    def _pair_of(self, user: str, groups: Sequence[str]) -> KeyPair:
        return self._admin if user == "admin" and not groups else self._authority.client(user, groups)

    def _write_kubeconfig(self, user: str, login: Mapping[str, str], namespace: str) -> Path:
        cluster = {"server": self.url, "certificate-authority-data": _inline(self.ca_file)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": cluster}],
            "users": [{"name": user, "user": login}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user, "namespace": namespace}}],
            "current-context": "testbed",
        }
        file = self.folder / f"{user.replace(':', '.')}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(json.dumps(content, indent=1))
        return file

    def _command(self, name: str) -> list[str]:
        return [str(binaries.component(name)), *self._arguments(name)]

    def _arguments(self, name: str) -> list[str]:
        ca, etcd = self.ca_file, f"http://{LOOPBACK}:{self._ports[ETCD]}"
        if name == ETCD:
            peer = f"http://{LOOPBACK}:{self._ports['etcd-peer']}"
            return [
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                # The data lives for one test run: a disk flush per write would only cost time.
                "--unsafe-no-fsync",
                "--log-level=warn",
            ]
        if name == APISERVER:
            return [
                f"--etcd-servers={etcd}",
                f"--bind-address={LOOPBACK}",
                f"--secure-port={self._ports[APISERVER]}",
                # The address would be refused in an Endpoints object because it is a loopback address.
                "--endpoint-reconciler-type=none",
                f"--service-cluster-ip-range={self.service_cidr}",
                f"--tls-cert-file={self._serving.certificate}",
                f"--tls-private-key-file={self._serving.key}",
                f"--client-ca-file={ca}",
                f"--service-account-key-file={self._pki('sa.pub')}",
                f"--service-account-signing-key-file={self._pki('sa.key')}",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                f"--audit-policy-file={audit.POLICY}",
                f"--audit-log-path={self.audit_log}",
                "--audit-log-mode=blocking-strict",
                # MB. By default it begins anew after 100: positions in it would lead nowhere.
                "--audit-log-maxsize=100000",
                "--shutdown-delay-duration=0s",
                "--profiling=false",
                *self._flags[APISERVER],
            ]
        common = [
            f"--kubeconfig={self.folder / f'system.{name}.kubeconfig'}",
            "--leader-elect=false",
            "--secure-port=0",
        ]
        if name == SCHEDULER:
            return [*common, "--kube-api-qps=500", "--kube-api-burst=1000"]
        return [
            *common,
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self._pki('sa.key')}",
            f"--root-ca-file={ca}",
            f"--cluster-signing-cert-file={ca}",
            f"--cluster-signing-key-file={self._authority.pair.key}",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            *self._flags[CONTROLLERS],
        ]

    def _spawn(self, name: str) -> None:
        if name in self._ports:
            require_free(self._ports[name], name)
        self._children[name] = spawn_bound(self._command(name), self.log_of(name))

    def _wait_serving(self) -> None:
        self._wait_for("the API server to serve", self._serves)

    def _serves(self) -> bool:
        try:
            self.admin.request("GET", "/readyz", timeout_s=5)
        except (OSError, ApiError):
            return False
        return True

    def _default_account_exists(self) -> bool:
        return self.admin.exists("/api/v1/namespaces/default/serviceaccounts/default")

    def _wait_for(self, what: str, condition: Any) -> None:
        def check() -> bool:
            for name, child in self._children.items():
                if child.poll() is not None:
                    raise BedError(
                        f"{name} ended with status {child.returncode} while waiting for {what}; the end of its log:\n"
                        f"{tail(self.log_of(name), 1500)}"
                    )
            return bool(condition())

        wait_until(check, what, _START_DEADLINE_S)


def sweep() -> None:
    """Remove data that control planes of ended processes left behind (their own processes died with them)."""
    for folder in paths.runs().glob("control-plane-*"):
        owner = folder.name.split("-")[2]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _inline(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
