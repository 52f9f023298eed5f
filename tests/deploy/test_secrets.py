"""`make secrets`: what compose mounts as secrets is made once, completely, and for its owner only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import yaml

from support import ROOT

DOCKER = ROOT / "serving" / "docker"


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path):
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    script = shutil.copy(DOCKER / "make-secrets.sh", tmp_path)
    runs, kept = [], {"ca.key", "client.crt", "client.key"}  # which no container needs
    for _ in range(2):
        subprocess.run([script], check=True, capture_output=True)
        made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
        mounted = {entry["file"] for entry in compose["secrets"].values()}
        assert {f"./secrets/{name}" for name in made} == mounted | {f"./secrets/{name}" for name in kept}
        assert re.fullmatch(r'"Bearer [0-9a-f]{64}" me;\n', made["tokens.map"])
        runs.append(made)
    assert runs[0] == runs[1]
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert all((tmp_path / "secrets" / name).stat().st_mode & 0o077 == 0 for name in kept)
    assert "serving/docker/secrets" in (ROOT / ".dockerignore").read_text()
    assert "/serving/docker/secrets/" in (ROOT / ".gitignore").read_text()


def test_a_run_that_was_interrupted_leaves_nothing_half_written(tmp_path):
    """If it dies at any openssl call, the next run makes a complete set."""
    script = shutil.copy(DOCKER / "make-secrets.sh", tmp_path)
    real = shutil.which("openssl")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "openssl").write_text(
        f"#!/bin/sh\necho >> {tmp_path}/calls\n"
        f'if [ "$(wc -l < {tmp_path}/calls)" -eq "$DIES_AT" ]; then\n'
        '  while [ $# -gt 1 ]; do [ "$1" != -out ] || printf half > "$2"; shift; done\n  kill -9 $PPID\nfi\n'
        f'exec {real} "$@"\n'
    )
    (tmp_path / "bin" / "openssl").chmod(0o755)
    for number in range(1, 11):
        shutil.rmtree(tmp_path / "secrets", ignore_errors=True)
        (tmp_path / "calls").unlink(missing_ok=True)
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "DIES_AT": str(number)}
        subprocess.run([script], env=environment, capture_output=True, check=False)
        subprocess.run([script], capture_output=True, check=True)
        secrets = tmp_path / "secrets"
        verify = ["openssl", "verify", "-CAfile", secrets / "ca.crt", secrets / "tls.crt", secrets / "client.crt"]
        subprocess.run(verify, capture_output=True, check=True)
        assert re.fullmatch(r'"Bearer [0-9a-f]{64}" me;\n', (secrets / "tokens.map").read_text()), number
        assert len((secrets / "grafana_password").read_text()) == 33, number
