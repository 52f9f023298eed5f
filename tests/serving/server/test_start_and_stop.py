"""How a server starts and ends when something is in its way."""

from __future__ import annotations

import argparse
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hangtag import Client
from hangtag.contract import WARMUP
from hangtag.errors import HangtagError, ServerUnavailable
from hangtag.optional import require
from hangtag_serving.flags import add_flags
from hangtag_serving.metrics import Metrics
from hangtag_serving.models.servable import Servable
from hangtag_serving.server.loading import Loader
from hangtag_serving.server.options import from_flags
from support import PATIENCE, eventually, serving

FASHION = Path(__file__).parents[1] / "conformance" / "models" / "fashion"


def test_a_port_that_is_taken_while_the_model_loads_is_one_sentence(tmp_path):
    """Two servers started together can both reserve a port; the second one to listen ends, and reports why."""
    (tmp_path / "fashion").mkdir()
    with (
        serving(
            tmp_path / "fashion", tmp_path / "log", "--file_system_poll_wait_seconds=0.1", wait=False, prestarted=False
        ) as server,
        socket.socket() as other,
    ):
        eventually(lambda: "No versions of servable fashion" in server.log_text(), "the port to be reserved")
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = int(server.rest.rpartition(":")[2])
        other.bind(("127.0.0.1", port))
        other.listen()
        shutil.copytree(FASHION / "1", tmp_path / "staged")
        (tmp_path / "staged").rename(tmp_path / "fashion" / "1")
        assert server.process.wait(PATIENCE) == 1
        last = server.log_text().splitlines()[-1]
        assert last.startswith(f"hangtag: port {port} of 127.0.0.1 is already taken: stop what listens there")
        assert "Traceback" not in server.log_text()


def test_a_version_that_does_not_come_up_is_freed(tmp_path, monkeypatch):
    """Any error after it was read: here its warmup requests cannot be read, as on a broken disk."""
    closed = []
    close = Servable.close
    monkeypatch.setattr(Servable, "close", lambda servable: (closed.append(servable.version), close(servable)))
    shutil.copytree(FASHION / "1", tmp_path / "1")
    (tmp_path / "1" / WARMUP).parent.mkdir()
    (tmp_path / "1" / WARMUP).symlink_to("/proc/self/mem")
    flags = argparse.ArgumentParser()
    add_flags(flags)
    load = Loader(from_flags(flags.parse_args([f"--model_base_path={tmp_path}"])), Metrics())
    with pytest.raises(Exception, match="Input/output error"):
        load("fashion", 1, tmp_path / "1")
    assert closed == [1]


def test_running_requests_finish_after_sigterm(tmp_path):
    """The server is stopped while clients call it: every call that it has accepted gets its answer."""
    images = np.zeros((2000, 28, 28), np.uint8)
    with serving(FASHION, tmp_path / "log", prestarted=False) as server:
        outcomes: list[object] = []

        def call(target: str) -> None:
            with Client(target, timeout=PATIENCE, retries=0) as client:
                while True:
                    try:
                        outcomes.append(client.predict({"images": images})["probabilities"].shape)
                    except ServerUnavailable as error:
                        outcomes.append(error)
                        return

        threads = [threading.Thread(target=call, args=(t,)) for t in (server.grpc, server.grpc, server.rest)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(outcomes) > 5, "some calls")
        assert server.stop() == 0
        for thread in threads:
            thread.join(60)
        assert all(o == (2000, 10) or isinstance(o, ServerUnavailable) for o in outcomes)
        assert "Traceback" not in server.log_text()


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose runs never end. Each makes the file that its input names, so that it is known to have begun."""
    tf = require("tensorflow", extra="serving", what="the test")
    base_path = tmp_path_factory.mktemp("endless") / "endless"

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "file")])
    def run(file):
        with tf.control_dependencies([tf.io.write_file(file[0], "")]):
            rounds = tf.while_loop(lambda i: i >= 0, lambda i: [(i + 1) % 1000], [tf.constant(0)])
        return {"rounds": tf.fill([tf.shape(file)[0]], rounds[0])}

    tf.saved_model.save(tf.Module(), str(base_path / "1"), run)
    return base_path


@pytest.mark.parametrize("front", ["native", "grpcio"])
def test_what_runs_when_the_grace_is_over_is_cut(endless, tmp_path, front):
    """TensorFlow's runs cannot be stopped: the process ends without answering them."""
    flags = ["--grace_seconds=0.5", f"--grpc_front={front}"]
    with (
        serving(endless, tmp_path / "log", *flags, model="endless", prestarted=False) as server,
        ThreadPoolExecutor() as pool,
    ):

        def call(target: str, file: Path) -> None:
            with Client(target, model="endless", timeout=PATIENCE, retries=0) as client:
                client.predict({"file": np.array([str(file).encode()], object)})

        files = [tmp_path / "over grpc", tmp_path / "over rest"]
        calls = [pool.submit(call, *pair) for pair in zip((server.grpc, server.rest), files, strict=True)]
        for file in files:
            eventually(file.exists, f"the run {file.name}")
        assert server.stop() == 0
        for cut in calls:
            assert isinstance(cut.exception(PATIENCE), HangtagError)
