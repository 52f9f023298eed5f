"""Config files: what can be read, and what is refused in one sentence."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from hangtag import InvalidInput
from hangtag_serving import config_files
from hangtag_serving.config_files import parse_file, read_text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no mkfifo")
def test_a_pipe_is_read_and_one_without_a_writer_does_not_block(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(config_files, "_PIPE_SECONDS", 30)  # the writer may come late
    writer = threading.Thread(target=pipe.write_text, args=("content",), daemon=True)
    writer.start()
    assert read_text(pipe, "file") == "content"
    writer.join()
    monkeypatch.setattr(config_files, "_PIPE_SECONDS", 0.1)
    assert read_text(pipe, "file") == ""


def test_what_cannot_be_read_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match=r"cannot read the file .*: Is a directory"):
        read_text(tmp_path, "file")
    with pytest.raises(InvalidInput, match=r"cannot read the file .*: No such file or directory"):
        read_text(tmp_path / "missing", "file")
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match="it is not UTF-8 text"):
        read_text(tmp_path / "latin", "file")
    monkeypatch.setattr(config_files, "_MAX_BYTES", 10)
    (tmp_path / "long").write_text("x" * 11)
    with pytest.raises(InvalidInput, match="larger than 10 bytes"):
        read_text(tmp_path / "long", "file")


@pytest.mark.parametrize("text", ["unknown: 1", "prometheus_config {", "prometheus_config {" * 3000])
def test_text_that_is_no_message_is_refused(tmp_path, text):
    (tmp_path / "monitoring").write_text(text)
    with pytest.raises(InvalidInput, match="cannot parse the monitoring config file"):
        parse_file(tmp_path / "monitoring", "MonitoringConfig", "monitoring config file")
