"""Prometheus's own checker reads the rules and runs their tests."""

from __future__ import annotations

import shutil
import subprocess

from programs import program
from support import ROOT

MONITORING = ROOT / "serving" / "monitoring"


def test_the_configuration_and_the_rules_are_valid():
    promtool = program("prometheus", "usr/bin/promtool")
    done = subprocess.run([promtool, "check", "config", MONITORING / "prometheus.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 rules found" in done.stdout


def test_every_alert_fires_when_it_should_and_only_then(tmp_path):
    promtool = program("prometheus", "usr/bin/promtool")
    for file in (MONITORING / "rules.yaml", ROOT / "tests" / "deploy" / "rules_test.yaml"):
        shutil.copy(file, tmp_path)
    done = subprocess.run([promtool, "test", "rules", tmp_path / "rules_test.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
