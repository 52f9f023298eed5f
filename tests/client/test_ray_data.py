"""Batch scoring with Ray Data, on Ray's local runner, against a real server."""

from __future__ import annotations

import gc
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hangtag import Client, InvalidInput, ServerUnavailable, ray_data
from hangtag.ray_data import classify, classify_to_parquet
from support import ROOT, eventually, free_port

pytestmark = [
    # Ray leaves files and sockets to the garbage collector, and deprecates parts of itself while it runs.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def processes(word: str) -> list[int]:
    """The ids of running processes whose command lines contain `word`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if word in line:
            found.append(int(file.parent.name))
    return found


CLUSTER = """
import sys
import ray
context = ray.init(
    num_cpus=2,
    include_dashboard=False,
    log_to_driver=False,
    logging_level="ERROR",
    object_store_memory=300 << 20,
    _temp_dir=sys.argv[1],
)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[object]:
    """Ray on this machine: two cores, no dashboard, quiet, all its files in a folder that is removed.

    It is started by a process of its own. `ray.init` would fork its servers from this one, where the threads of gRPC
    may hold a lock that the child then waits for.
    """
    folder = tempfile.mkdtemp(prefix="ray")  # not pytest's: its name is too long for Ray's sockets
    # No report to Ray's makers, and a token of ours: Ray would write one to the home folder.
    own = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_gcs_server_port_wait_time_s": "120",  # on a busy machine
        "RAY_worker_niceness": "0",  # not 15, with which a busy machine gives the workers next to nothing
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        command = [sys.executable, "-c", CLUSTER, folder]
        with ExitStack() as started:
            for _ in range(3):  # another program may take a port that Ray has chosen, before Ray listens on it
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
                cluster = started.enter_context(subprocess.Popen(command, **pipes))
                import ray  # while it starts

                address = cluster.stdout.readline().strip()
                if address:
                    break
            assert address, "Ray did not start"
            ray.init(address, log_to_driver=False, logging_level="ERROR")
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            context.default_hash_shuffle_parallelism = 2  # not 200, for the cores that it has here
            yield ray
            ray.shutdown()
    gc.collect()  # while ResourceWarnings are still ignored
    eventually(lambda: not processes(folder), "Ray's processes to end")
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _no_actors_are_left() -> None:
    """Exceptions that pytest has kept hold the actors of earlier jobs, and these hold CPUs that the next jobs need."""
    gc.collect()


def read(folder: Path) -> dict[str, list]:
    return pq.read_table(folder).to_pydict()


def test_all_images_of_fashion_mnist_get_the_labels_that_the_client_gives(ray, dataset, server, tmp_path):
    """70,000 images as an array column, in seven blocks; probabilities and the other columns come along."""
    pixels = np.concatenate([dataset.train_images, dataset.test_images])
    blocks = [
        pa.table(
            {
                "id": np.arange(start, start + 10_000),
                "pixels": pa.FixedShapeTensorArray.from_numpy_ndarray(pixels[start : start + 10_000]),
            }
        )
        for start in range(0, len(pixels), 10_000)
    ]
    output = tmp_path / "named"
    classify_to_parquet(
        ray.data.from_arrow(blocks), server.grpc, str(output), column="pixels", probabilities=True, timeout=60
    )
    with Client(server.grpc, timeout=60) as client:
        expected = client.classify(pixels)
    rows = read(output)
    assert set(rows) == {"id", "label", "score", "probabilities"}
    order = np.argsort(rows["id"])
    assert (np.array(rows["id"])[order] == np.arange(70_000)).all()
    probabilities = np.array(rows["probabilities"], np.float32)[order]
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-5)
    names = np.array(expected.class_names)
    assert (np.array(rows["label"])[order] == names[probabilities.argmax(axis=1)]).all()
    assert (np.array(rows["score"], np.float32)[order] == probabilities.max(axis=1)).all()
    assert np.mean(np.array(rows["label"])[order] == expected.labels) > 0.9999  # all but ties


def test_a_folder_of_files_becomes_a_table_of_their_names(images, server, tmp_path):
    """Over REST; what is no picture is left alone."""
    pictures = tmp_path / "pictures"
    (pictures / "more").mkdir(parents=True)
    for number in range(24):
        Image.fromarray(images[number]).save(pictures / ("more" if number % 2 else ".") / f"{number}.png")
    (pictures / "readme.txt").write_text("no picture")
    classify_to_parquet(str(pictures), server.rest, str(tmp_path / "named"), batch_size=10)
    rows = read(tmp_path / "named")
    assert set(rows) == {"path", "label", "score"}
    assert len(rows["path"]) == 24
    with Client(server.rest) as client:
        expected = client.classify(rows["path"])
    assert rows["label"] == expected.labels.tolist()
    np.testing.assert_allclose(rows["score"], expected.scores, atol=1e-5)


def test_a_dataset_stays_one(ray, images, server):
    """Lazy, with all its columns; the new ones do not overwrite what is there."""
    source = ray.data.from_items([{"image": images[number], "label": number} for number in range(8)])
    rows = classify(source, server.grpc, column="image", prefix="predicted_", actors=1).take_all()
    assert {row["label"] for row in rows} == set(range(8))
    with Client(server.grpc) as client:
        expected = client.classify(images[:8]).labels
    assert all(row["predicted_label"] == expected[row["label"]] for row in rows)


def test_columns_that_do_not_fit_are_named(images, server):
    """As an actor sees them; that its errors arrive, the test of a server that is gone shows."""
    classify_batch = ray_data._Classifier(server.grpc, {}, "image", "", probabilities=False)
    with pytest.raises(InvalidInput, match=r"^the dataset has no column 'image'; it has data, id$"):
        classify_batch({"data": images[:8], "id": np.arange(8)})
    with pytest.raises(InvalidInput, match="already has a column 'label': give a prefix"):
        classify_batch({"image": images[:8], "label": np.arange(8)})


def test_the_guides_code_runs(ray, server, tmp_path, monkeypatch, capsys):
    """docs/how-to/batch.md, block by block, in the folder where a reader runs it: the parent of docs/."""
    shutil.copytree(ROOT / "docs" / "images", tmp_path / "docs" / "images")
    monkeypatch.chdir(tmp_path)
    guide = (ROOT / "docs" / "how-to" / "batch.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block.replace("localhost:8500", server.grpc), {})  # noqa: S102 - our own text
    (row,) = pq.read_table(tmp_path / "named").to_pylist()
    assert (Path(row["path"]).name, row["label"]) == ("ankle-boot.png", "Ankle boot")
    assert "'count()': 1000" in capsys.readouterr().out  # a thousand black images are of one class


def test_a_job_whose_server_is_gone_fails_and_leaves_nothing(ray, images, tmp_path, capfd):
    source = ray.data.from_numpy(images[:8])
    target = f"127.0.0.1:{free_port()}"
    with pytest.raises(ServerUnavailable, match=f"^no answer from {target}: [^\n]*$") as caught:
        classify_to_parquet(source, target, str(tmp_path / "named"), column="data")
    assert list(tmp_path.iterdir()) == []
    assert "open an issue" not in capfd.readouterr().err
    assert caught.value.__context__ is None, "it would hold the actors of the job"
    with pytest.raises(ServerUnavailable, match=f"no answer from {target}"):
        classify(source, target, column="data").take_all()


def test_wrong_arguments_are_named(ray, images, server, tmp_path):
    source = ray.data.from_numpy(images[:8])
    output = str(tmp_path / "named")
    with pytest.raises(InvalidInput, match="the column with the images"):
        classify_to_parquet(source, server.grpc, output)
    with pytest.raises(InvalidInput, match="column is for a dataset"):
        classify_to_parquet("pictures", server.grpc, output, column="data")
    with pytest.raises(InvalidInput, match=r"no image files at .*nowhere"):
        classify_to_parquet(str(tmp_path / "nowhere"), server.grpc, output)
    with pytest.raises(InvalidInput, match="exists: give a folder that does not"):
        classify_to_parquet(source, server.grpc, str(tmp_path), column="data")
    with pytest.raises(InvalidInput, match="cannot write to nope://"):
        classify_to_parquet(source, server.grpc, "nope://there", column="data")
    with pytest.raises(InvalidInput, match="target"):
        classify(source, "ftp://server", column="data")
    with pytest.raises(InvalidInput, match="actors"):
        classify(source, server.grpc, column="data", actors=0)
    assert list(tmp_path.iterdir()) == []
