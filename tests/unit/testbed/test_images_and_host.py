"""What decides whether an image is built again, what a command's failure says, and which networks are taken."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import tarfile
import threading
from pathlib import Path

import pytest

from testbed import archive, audit, controlplane, daemons, host, images, paths, progress
from testbed.errors import BedError
from testbed.ports import LOOPBACK
from testbed.processes import run


def test_the_inputs_of_a_prepare_script_are_the_paths_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    for name in ("images/thing", "requirements", "operator/jil", "unrelated"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "images" / "shared.sh").write_text('pip install -r "$REPO/requirements/$lock"\n(cd "$REPO/operator")')
    script = tmp_path / "images" / "thing" / "prepare.sh"
    script.write_text('. "$REPO/images/shared.sh"\nsed p "${REPO}/pyproject.toml"\necho "$REPO" "$OUT/elsewhere"')

    inputs = set(images._inputs(script))

    expected = {"images/thing", "images/shared.sh", "requirements", "operator", "pyproject.toml"}
    assert {str(path.relative_to(tmp_path)) for path in inputs} == expected


def test_every_prepare_script_of_the_checkout_names_only_what_exists() -> None:
    for name in images.names():
        script = images.SOURCE / name / "prepare.sh"
        if script.exists():
            assert all(path.exists() for path in images._inputs(script))


def test_a_failed_command_shows_the_end_of_its_output_and_its_status() -> None:
    with pytest.raises(BedError, match=r"status 3(.|\n)*the reason"):
        run(["sh", "-c", "echo the reason >&2; exit 3"])


def test_a_program_that_is_not_there_is_an_error_with_a_remedy() -> None:
    with pytest.raises(BedError, match="doctor"):
        run(["no-such-program-anywhere"])


def test_a_command_past_its_deadline_is_ended_with_what_it_started() -> None:
    with pytest.raises(BedError, match="did not end within"):
        run(["sh", "-c", "sleep 987654321 & wait"], timeout_s=0.2)
    assert not daemons.mentioning("987654321")


def test_a_daemon_is_known_by_pid_and_start_time(tmp_path: Path) -> None:
    daemon = daemons.start(["sleep", "60"], tmp_path / "log", tmp_path / "record")
    try:
        assert daemons.find(tmp_path / "record") == daemon
        reused = {"pid": daemon.pid, "started": daemon.started + 1}
        (tmp_path / "other").write_text(json.dumps(reused))
        assert daemons.find(tmp_path / "other") is None
    finally:
        daemon.end(5)
    assert daemons.find(tmp_path / "record") is None


def test_subnets_that_a_route_overlaps_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = [
        "default via 192.0.2.1 dev eth0",
        "172.31.128.0/24 dev jilbridge proto kernel scope link",
        "broadcast 172.31.129.255 dev x table local",
        "172.31.130.7 dev tunnel",
    ]
    monkeypatch.setattr(host, "_ip", lambda *_: "\n".join(routes))
    assert host.free_subnets(2) == [ipaddress.ip_network("172.31.131.0/24"), ipaddress.ip_network("172.31.132.0/24")]
    monkeypatch.setattr(host, "_ip", lambda *_: "172.16.0.0/12 dev vpn")
    with pytest.raises(BedError, match="routes of this host"):
        host.free_subnets(2)


def test_an_archive_holds_a_shared_layer_once(tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    with tarfile.open(layer, "w") as content:
        content.add(__file__, "file")
    archive.write(tmp_path / "a.tar", [archive.Image(["a:1"], [layer]), archive.Image(["b:1"], [layer, layer])])
    with tarfile.open(tmp_path / "a.tar") as written:
        names = written.getnames()
        manifest = json.load(written.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert len([name for name in names if name.endswith("layer.tar")]) == 1
    assert [entry["RepoTags"] for entry in manifest] == [["a:1"], ["b:1"]]


def test_an_unfinished_line_of_the_audit_log_is_left_for_later(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text('{"verb": "get"}\n{"verb": "list"}\n{"ver')
    assert [entry["verb"] for entry in audit.entries(log)] == ["get", "list"]
    assert [entry["verb"] for entry in audit.entries(log, len('{"verb": "get"}\n'))] == ["list"]


def test_a_port_that_somebody_listens_on_is_told_before_a_server_fails_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JIL_CACHE", str(tmp_path / "cache"))
    with socket.create_server((LOOPBACK, 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setattr(controlplane, "free_ports", lambda count: [taken] * count)
        with pytest.raises(BedError, match=rf"etcd cannot start: another program listens on 127\.0\.0\.1:{taken}; `ss"):
            controlplane.ControlPlane().start()
    assert not list(paths.runs().iterdir()), "a start that failed leaves nothing"


def test_long_work_says_that_it_goes_on_and_how_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = threading.Event()
    monkeypatch.setattr(progress, "_STILL_S", 0.01)
    monkeypatch.setattr(progress, "say", lambda text: (lines.append(text), "so far" in text and seen.set()))
    lines: list[str] = []
    with progress.stage("building"):
        assert seen.wait(10)
    assert lines[0] == "building …"
    assert lines[1] == "building: 0 s so far"
    assert re.fullmatch(r"building: \d+\.\d s", lines[-1])
    with pytest.raises(BedError), progress.stage("breaking"):
        raise BedError("no")
    assert lines[-1].startswith("breaking: failed after")


@pytest.mark.parametrize("name", ["node", "operator"])
def test_an_image_gets_every_package_that_its_own_packages_import(name: str) -> None:
    """Found here in milliseconds, it costs no image that is built for nothing."""
    script = (images.SOURCE / name / "prepare.sh").read_text()
    taken = set(re.findall(r"\$REPO/operator/jil/(\w+)\"", script))
    assert taken
    needed = set()
    for package in taken:
        for file in (paths.CHECKOUT / "operator" / "jil" / package).rglob("*.py"):
            needed |= set(re.findall(r"^\s*(?:from|import) jil\.(\w+)", file.read_text(), re.MULTILINE))
    assert needed <= taken, f"images/{name}/prepare.sh does not take {', '.join(sorted(needed - taken))}"
