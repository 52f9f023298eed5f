"""An export that is interrupted publishes nothing, and keeps its checkpoint."""

from __future__ import annotations

import signal
import subprocess

from support import PATIENCE


def test_ctrl_c_in_the_middle_of_a_resumed_training_keeps_a_checkpoint_alone(exported, tmp_path):
    base_path, model = tmp_path / "fashion", exported.parent / "model.keras"
    command = ["hangtag", "export", "--epochs=1000", f"--resume={model}", f"--base-path={base_path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as export:
        lines = []
        for line in export.stdout:
            lines.append(line)
            if line.startswith("epoch    3/"):
                break
        assert f"resuming {model} after 1,875 steps\n" in lines
        assert sorted(path.name[:9] for path in base_path.iterdir()) == [".staging-", "checkpoin"]
        export.send_signal(signal.SIGINT)
        rest, errors = export.communicate(timeout=PATIENCE)
    assert export.returncode == 130
    assert errors.splitlines() == ["hangtag: interrupted"]
    assert rest.splitlines()[-1] == "interrupted: run the same command with --resume to continue after the last epoch"
    assert [path.name for path in base_path.iterdir()] == ["checkpoints"]
