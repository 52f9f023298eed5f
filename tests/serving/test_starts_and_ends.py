"""How a server starts and ends when something is in its way."""

from __future__ import annotations

import argparse
import shutil
import socket
from pathlib import Path

import pytest

from hangtag_serving.flags import add_flags
from hangtag_serving.loading import Loader
from hangtag_serving.metrics import Metrics
from hangtag_serving.options import from_flags
from hangtag_serving.servable import Servable
from hangtag_serving.warmup import FILE
from support import PATIENCE, eventually, serving

FASHION = Path(__file__).parent / "conformance" / "models" / "fashion"


def test_a_port_that_is_taken_while_the_model_loads_is_one_sentence(tmp_path):
    """Two servers started together can both reserve a port; the one that comes to listen second ends, and says why."""
    (tmp_path / "fashion").mkdir()
    with (
        serving(tmp_path / "fashion", tmp_path / "log", "--file_system_poll_wait_seconds=0.1", wait=False) as server,
        socket.socket() as other,
    ):
        eventually(lambda: "No versions of servable fashion" in server.said(), "the port to be reserved")
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = int(server.rest.rpartition(":")[2])
        other.bind(("127.0.0.1", port))
        other.listen()
        shutil.copytree(FASHION / "1", tmp_path / "staged")
        (tmp_path / "staged").rename(tmp_path / "fashion" / "1")
        assert server.process.wait(PATIENCE) == 1
        last = server.said().splitlines()[-1]
        assert last.startswith(f"hangtag: port {port} of 127.0.0.1 is already taken: stop what listens there")
        assert "Traceback" not in server.said()


def test_a_version_that_does_not_come_up_is_freed(tmp_path, monkeypatch):
    """Whatever went wrong after it was read: here its warmup requests cannot be, as on a broken disk."""
    closed = []
    close = Servable.close
    monkeypatch.setattr(Servable, "close", lambda servable: (closed.append(servable.version), close(servable)))
    shutil.copytree(FASHION / "1", tmp_path / "1")
    (tmp_path / "1" / FILE).parent.mkdir()
    (tmp_path / "1" / FILE).symlink_to("/proc/self/mem")
    flags = argparse.ArgumentParser()
    add_flags(flags)
    load = Loader(from_flags(flags.parse_args([f"--model_base_path={tmp_path}"])), Metrics())
    with pytest.raises(Exception, match="Input/output error"):
        load("fashion", 1, tmp_path / "1")
    assert closed == [1]
