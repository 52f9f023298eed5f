"""An export that is interrupted leaves nothing."""

from __future__ import annotations

import signal
import subprocess

from support import HANGTAG, PATIENCE


def test_ctrl_c_in_the_middle_of_a_resumed_training_publishes_nothing(exported, tmp_path):
    base_path, model = tmp_path / "fashion", exported.parent / "model.keras"
    command = [*HANGTAG, "export", "--epochs=1000", f"--resume={model}", f"--base-path={base_path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as export:
        said = ""
        for line in export.stdout:
            said += line
            if line.startswith("epoch "):
                break
        assert f"resuming {model} after 1,875 steps\n" in said
        assert [path.name[:9] for path in base_path.iterdir()] == [".staging-"]
        export.send_signal(signal.SIGINT)
        _, errors = export.communicate(timeout=PATIENCE)
    assert export.returncode == 130
    assert errors.splitlines() == ["hangtag: interrupted"]
    assert not base_path.exists()
