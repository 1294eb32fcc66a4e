"""The installed programs: jilctl, kubectl jil and its completion, as processes of their own."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from testbed import binaries
from testbed.certificates import Authority
from testbed.paths import CHECKOUT

SCRIPTS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment in which the entry points of pyproject.toml are programs on PATH, as pip makes them."""
    for name, target in SCRIPTS.items():
        module, function = target.split(":")
        program = tmp_path / name
        program.write_text(f"#!{sys.executable}\nfrom {module} import {function}\n{function}()\n")
        program.chmod(0o755)
    path = f"{tmp_path}:{binaries.program_for('kubectl').parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT / "operator")}


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


def test_jilctl_is_a_program_and_a_plugin_of_kubectl(installed: dict[str, str]) -> None:
    assert run(installed, "jilctl", "--version").stdout == "jilctl 0.1.0\n"
    done = run(installed, "kubectl", "jil", "image", "verify", "Not An Image", "--track", "devnet", "--policy", "/none")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("jilctl: ")


def test_kubectl_completes_commands_options_and_values(installed: dict[str, str]) -> None:
    def complete(*words: str) -> list[str]:
        return run(installed, "kubectl_complete-jil", *words).stdout.splitlines()

    assert complete("") == ["image", "release", "keys", ":4"]
    assert complete("image", "pro") == ["promote", ":4"]
    assert complete("image", "sign", "--track", "t") == ["testnet", ":4"]
    assert complete("image", "verify", "x", "--policy", "")[-1] == ":0"


def test_a_password_is_asked_for_in_a_terminal_and_not_shown(installed: dict[str, str], tmp_path: Path) -> None:
    """In a terminal of its own (the program script), since a pipe gets no prompt."""
    key = tmp_path / "key.pem"
    command = f"jilctl keys generate --key {key} --id x --owner x@example.com --role signer"
    with subprocess.Popen(
        ["script", "-qec", command, "/dev/null"], env=installed, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as terminal:
        assert terminal.stdin
        assert terminal.stdout
        shown = b""
        for prompt in (b"Password of", b"Once more"):
            while prompt not in shown:
                piece = os.read(terminal.stdout.fileno(), 4096)
                assert piece, shown
                shown += piece
            terminal.stdin.write(b"secret-horse\n")
            terminal.stdin.flush()
        shown += terminal.stdout.read()
        assert terminal.wait(120) == 0, shown
    assert b"secret-horse" not in shown
    assert b"publicKey" in shown
    assert "BEGIN ENCRYPTED PRIVATE KEY" in key.read_text()


def test_a_command_that_is_told_to_end_leaves_no_key_of_a_kubeconfig_behind(
    installed: dict[str, str], tmp_path: Path
) -> None:
    """The library that reads kubeconfigs keeps an inline key in a file of the temp folder until the program ends."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    pair = Authority(tmp_path / "authority", "test").client("somebody")
    inline = [base64.b64encode(path.read_bytes()).decode() for path in (pair.certificate, pair.key)]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = {"server": f"https://127.0.0.1:{silent.getsockname()[1]}"}
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": cluster}],
            "users": [{"name": "u", "user": {"client-certificate-data": inline[0], "client-key-data": inline[1]}}],
        }
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        command = ["jilctl", "keys", "list", "--network", "n1", "--kubeconfig", str(tmp_path / "config")]
        with subprocess.Popen(command, env={**installed, "TMPDIR": str(temporary)}) as process:
            silent.settimeout(120)
            connection, _ = silent.accept()  # it has read its kubeconfig, and waits for an answer that does not come
            try:
                process.terminate()
                code = process.wait(timeout=120)
            finally:
                connection.close()
                process.kill()
    assert list(temporary.iterdir()) == []
    assert code == 143
