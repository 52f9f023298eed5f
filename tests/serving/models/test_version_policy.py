"""Which folders are versions, which of them are served, and how often one that does not load is tried."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hangtag_serving.errors import ServingError
from hangtag_serving.models.lifecycle import ManagerOptions, ModelManager
from hangtag_serving.models.model_config import ModelConfig
from hangtag_serving.models.saved_model import LoadOptions
from hangtag_serving.models.servable import Servable
from hangtag_serving.models.version_policy import Latest, Specific, every_version, scan
from support import eventually

MODELS = Path(__file__).parents[1] / "conformance" / "models"


def test_names_are_read_as_the_cpp_server_reads_them(tmp_path):
    """As int64, with zeros, a sign or blanks around; of two names for one number the lexically last counts."""
    names = ["1", "001", "00000123", "-3", " 7 ", "+9", "4.tmp", ".5", "tmp-6", "8a", "٣", str(2**63), "_1", "1_0"]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "11").write_text("a file counts too, and fails to load")
    present = {number: folder.name for number, folder in scan(tmp_path).items()}
    assert present == {1: "1", 123: "00000123", -3: "-3", 7: " 7 ", 9: "+9", 11: "11"}
    with pytest.raises(OSError, match="No such file"):
        scan(tmp_path / "nowhere")
    with pytest.raises(OSError, match="No folder can have this name"):
        scan(tmp_path / "a\0b")


def test_policies_choose_among_the_versions_present():
    present = {number: Path(str(number)) for number in (-1, 2, 3, 10)}
    assert set(Latest()(present)) == {10}
    assert set(Latest(0)(present)) == {10}, "0 counts as 1, as there"
    assert set(Latest(2)(present)) == {3, 10}
    assert set(Specific((2, 4))(present)) == {2}
    assert every_version(present) == present


class Loads:
    """What a manager is given to load with: fails `failures` times, then gives a real version."""

    def __init__(self, failures: int) -> None:
        self.failures, self.tries = failures, 0

    def __call__(self, name: str, number: int, folder: Path) -> Servable:
        self.tries += 1
        if self.tries <= self.failures:
            raise ServingError("DATA_LOSS", f"try {self.tries}")
        return Servable(name, number, folder)


@pytest.mark.parametrize(("failures", "state", "tries"), [(2, "AVAILABLE", 3), (9, "END", 3)], ids=["recovered", "not"])
def test_a_version_is_tried_again_as_often_as_the_flag_says(failures, state, tries):
    """--max_num_load_retries=2 is three tries, LOADING between them, and none after the last."""
    load = Loads(failures)
    options = ManagerOptions(poll_seconds=0.01, max_retries=2, retry_seconds=0.02)
    manager = ModelManager(ModelConfig("types", MODELS / "types"), options, load)
    manager.start()
    try:
        manager.wait_settled(threading.Event(), for_versions=True)
        (version,) = eventually(lambda: [v for v in manager.versions() if v.state == state], f"{state}")
        assert load.tries == tries
        if state == "END":
            assert (version.error_code, version.error_message) == ("DATA_LOSS", "try 3")
            assert manager.failure() == "{name: types version: 1} due to error: DATA_LOSS: try 3"
        else:
            with manager.use() as servable:
                assert servable.version == 1
    finally:
        manager.stop()
    assert load.tries == tries


def test_tags_that_a_version_does_not_have_are_named():
    with pytest.raises(ServingError, match="MetaGraphDef associated with tags") as caught:
        Servable("types", 1, MODELS / "types" / "1", LoadOptions(tags=("serve", "gpu")))
    assert caught.value.code == "NOT_FOUND"
