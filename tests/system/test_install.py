"""What an install brings, and what an import costs."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import hangtag
from support import ROOT, run

HEAVY = {"tensorflow", "keras", "grpc", "requests", "google.protobuf", "numpy", "orjson", "matplotlib", "PIL"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def base_install(wheel, tmp_path_factory) -> Path:
    """A virtual environment with nothing but the base install; returns its bin."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder, with_pip=True)
    command = [folder / "bin" / "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_the_wheel_holds_the_three_packages_and_no_others(wheel):
    """Folders called docker or kubernetes must never become top-level packages."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"hangtag", "hangtag_export", "hangtag_serving"}
    assert {f"{top}/py.typed" for top in tops} <= set(names)


def test_the_base_install_brings_neither_tensorflow_nor_protobuf(base_install):
    listed = subprocess.run(
        [base_install / "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    names = {line.split("==")[0].lower() for line in listed.stdout.splitlines()}
    assert {"hangtag", "numpy", "grpcio", "requests", "orjson"} <= names
    assert not {"tensorflow", "protobuf", "pillow", "keras", "tensorflow-serving-api"} & names


def test_the_base_install_names_a_png(base_install, server):
    """No Pillow: the file is sent to the model unchanged."""
    picture = ROOT / "docs" / "images" / "ankle-boot.png"
    for target in (server.grpc, server.rest):
        command = [base_install / "hangtag", "classify", picture, "--target", target]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Ankle boot" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "what", "extra"),
    [
        (["export"], "training", "export"),
        (["playground"], "hangtag playground", "playground"),
        (["versions", "list", "--config=models.config"], "reading or changing a model config file", "export"),
        (["serve", "--port=0", "--rest_api_port=18599"], "hangtag serve", "serving"),
        (["doctor", "models"], "hangtag doctor on models", "serving"),
        (["doctor", "models.config"], "hangtag doctor on a model config file", "serving"),
        (["doctor", "compose.yaml"], "hangtag doctor on YAML", "serving"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_missing_extra_is_one_sentence_that_names_it(base_install, tmp_path, arguments, what, extra):
    (tmp_path / "models" / "1").mkdir(parents=True)
    for name in ("models.config", "compose.yaml"):
        (tmp_path / name).write_text("")
    done = subprocess.run(
        [base_install / "hangtag", *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"hangtag: {what} needs more than the base install: pip install 'hangtag[{extra}]'\n"


def test_what_needs_no_extra_works_without_one(base_install, server, tmp_path):
    """Listing versions without a config, and the doctor on a running server."""
    (tmp_path / "models" / "fashion" / "1").mkdir(parents=True)
    for arguments, expected in ((["versions", "list"], "      1  -"), (["doctor", server.grpc], "ok")):
        done = subprocess.run(
            [base_install / "hangtag", *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout


def test_a_missing_ray_is_one_sentence_that_names_its_extra(base_install):
    code = """from hangtag import MissingExtra
from hangtag.ray_data import classify
try:
    classify(None, "localhost", column="image")
except MissingExtra as error:
    print(error)"""
    done = subprocess.run([base_install / "python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "hangtag.ray_data needs more than the base install: pip install 'hangtag[ray]'\n"


def test_importing_hangtag_loads_nothing_heavy(base_install):
    code = f"import hangtag, sys; assert not {HEAVY!r} & set(sys.modules)"
    subprocess.run([base_install / "python", "-c", code], check=True)


def test_the_client_loads_numpy_and_no_transport(base_install):
    heavy = HEAVY - {"numpy", "orjson"}
    code = f"import sys; from hangtag import Client; Client('localhost:1'); assert not {heavy!r} & set(sys.modules)"
    subprocess.run([base_install / "python", "-c", code], check=True)


def test_help_loads_nothing_heavy():
    code = f"""import sys
from hangtag.cli.main import main
try:
    main(['--help'])
except SystemExit:
    assert not {HEAVY!r} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert run("--version").stdout == f"hangtag {hangtag.__version__}\n"


def test_the_public_names_are_there():
    assert len(set(hangtag.__all__)) == len(hangtag.__all__)
    for name in hangtag.__all__:
        assert getattr(hangtag, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = hangtag.nope
