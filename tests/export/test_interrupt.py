"""An export that is interrupted leaves nothing."""

from __future__ import annotations

import signal
import subprocess

from support import HANGTAG, PATIENCE


def test_ctrl_c_in_the_middle_of_training_publishes_nothing(tmp_path, dataset):
    base_path = tmp_path / "fashion"
    command = [*HANGTAG, "export", "--epochs=1000", f"--base-path={base_path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as export:
        for line in export.stdout:
            if line.startswith("epoch "):
                break
        assert [path.name[:9] for path in base_path.iterdir()] == [".staging-"]
        export.send_signal(signal.SIGINT)
        _, errors = export.communicate(timeout=PATIENCE)
    assert export.returncode == 130
    assert errors.splitlines() == ["hangtag: interrupted"]
    assert list(base_path.iterdir()) == []
