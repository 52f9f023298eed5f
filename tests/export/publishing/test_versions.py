"""`hangtag versions`: what is published, what may go, and which version a label means."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from config_server import running
from hangtag import Client
from hangtag.cli.main import main
from hangtag_export.publishing.model_config import ModelConfig
from hangtag_export.publishing.versions import prune
from support import eventually


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """Versions 1 to 6, with cards; their other files do not matter here."""
    base_path = tmp_path / "models" / "fashion"
    for number in range(1, 7):
        folder = base_path / str(number) / "assets.extra"
        folder.mkdir(parents=True)
        card = {"created": f"2026-11-0{number}T08:00:00+00:00", "test_accuracy": 0.8 + number / 100}
        (folder / "hangtag.json").write_text(json.dumps(card))
        (base_path / str(number) / "saved_model.pb").write_bytes(b"x" * 1000)
    return base_path


@pytest.fixture
def config(tmp_path: Path, base_path: Path) -> Path:
    path = tmp_path / "models.config"
    path.write_text(entry(base_path, "model_version_policy { specific { versions: 2 } }", stable=2))
    return path


def entry(base_path: Path, policy: str = "", **labels: int) -> str:
    written = " ".join(f'version_labels {{ key: "{label}" value: {number} }}' for label, number in labels.items())
    head = f'name: "fashion" base_path: "{base_path}" model_platform: "tensorflow"'
    return f"# kept by the platform team\nmodel_config_list {{ config {{ {head} {policy} {written} }} }}\n"


def parsed(path: Path) -> model_server_config_pb2.ModelConfig:
    document = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    (found,) = document.model_config_list.config
    return found


def state(path: Path) -> tuple[list[int], dict[str, int]]:
    """Versions that the specific policy names, and the labels."""
    found = parsed(path)
    return list(found.model_version_policy.specific.versions), dict(found.version_labels)


def numbers(base_path: Path) -> list[str]:
    return sorted(path.name for path in base_path.iterdir())


def versions(*arguments: object) -> int:
    return main(["versions", *map(str, arguments)])


# ---- list and prune


def test_the_list_shows_number_date_accuracy_size_and_labels(base_path, config, capsys):
    assert versions("list", f"--config={config}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[2].split() == ["2", "2026-11-02T08:00:00+00:00", "0.8200", "0.00", "MB", "stable"]
    assert lines[6].split()[-1] == "-"
    assert versions("list", f"--base-path={base_path}", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[5]["version"] == 6
    assert rows[5]["test_accuracy"] == pytest.approx(0.86)
    assert rows[5]["size"] == 1000 + (base_path / "6" / "assets.extra" / "hangtag.json").stat().st_size


def test_a_version_without_a_card_is_listed_all_the_same(base_path, capsys):
    (base_path / "3" / "assets.extra" / "hangtag.json").write_text("not json")
    assert versions("list", f"--base-path={base_path}") == 0
    assert capsys.readouterr().out.splitlines()[3].split() == ["3", "-", "-", "0.00", "MB", "-"]


def test_prune_keeps_the_newest_and_all_that_the_config_names(base_path, tmp_path, capsys):
    config = tmp_path / "models.config"
    config.write_text(
        entry(base_path, "model_version_policy { specific { versions: 1 versions: 3 } }", stable=3, old=2)
    )
    assert versions("prune", "--keep=1", f"--config={config}") == 0
    assert capsys.readouterr().out == "removed 4, 5\n"
    assert numbers(base_path) == ["1", "2", "3", "6"]
    assert versions("prune", "--keep=2", f"--base-path={base_path}", "--config=none") == 0
    assert numbers(base_path) == ["3", "6"]


def test_prune_says_when_no_config_tells_which_versions_are_labelled(base_path, capsys):
    assert versions("prune", "--keep=1", f"--base-path={base_path}") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("--keep without --config FILE: versions that a label or a policy names are not known")
    assert numbers(base_path) == ["6"]
    assert versions("prune", "--keep=1", f"--base-path={base_path}", "--config=none") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("policy", "left"),
    [("model_version_policy { latest { num_versions: 3 } }", "456"), ("model_version_policy { all {} }", "123456")],
)
def test_prune_removes_nothing_that_is_being_served(base_path, tmp_path, policy, left):
    config = tmp_path / "models.config"
    config.write_text(entry(base_path, policy))
    assert versions("prune", "--keep=1", f"--config={config}") == 0
    assert numbers(base_path) == list(left)


# ---- promote and rollback, as the server sees them


def test_a_label_moves_once_its_version_is_available(base_path, config, capsys):
    """In two steps, each of which the server accepts."""
    with running(config, base_path) as server:
        assert versions("promote", 5, f"--config={config}", f"--target={server.target}") == 0
        assert server.labels == {"stable": 5}, "promote returns once the server answers to the label"
        assert not server.refused
        assert len(server.seen) == 3
        assert server.available == {2, 5}, "the version it left stays loaded, for a rollback"
    assert state(config) == ([2, 5], {"stable": 5})
    assert "step 1 of 2" in capsys.readouterr().out


def test_a_label_that_is_new_is_waited_for_like_any(base_path, tmp_path, capsys):
    """The first label of all, too, before which the server answers that it has none yet."""
    config = tmp_path / "models.config"
    config.write_text(entry(base_path))
    with running(config, base_path) as server:
        for number, label in ((6, "stable"), (3, "canary")):
            arguments = (f"--label={label}", f"--config={config}", f"--target={server.target}")
            assert versions("promote", number, *arguments) == 0
            assert server.labels[label] == number
            with Client(server.target, version_label=label) as client:
                assert client.metadata().version == number
    output = capsys.readouterr().out
    assert f"step 1 of 2: {config} lists version 3; canary follows once that is AVAILABLE" in output


def test_a_loaded_version_whose_label_the_server_does_not_learn_is_no_success(base_path, config, tmp_path, capsys):
    """It has every version loaded, so nothing but the label shows that it does not read this file."""
    elsewhere = tmp_path / "elsewhere.config"
    for path in (config, elsewhere):
        path.write_text(entry(base_path, "model_version_policy { all {} }", stable=2))
    with running(elsewhere, base_path) as server:
        for _ in range(2):  # the label is in the file by the second call, and still not in the server
            arguments = (f"--config={config}", f"--target={server.target}", "--timeout=0.3")
            assert versions("promote", 5, *arguments) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert line == (
                f"hangtag: stable is version 5 in {config}, but the server did not answer so within 0.3 s: "
                "does it read that file again (--model_config_file_poll_wait_seconds)?"
            )
        assert server.labels == {"stable": 2}
        assert versions("rollback", f"--config={config}", f"--target={server.target}") == 0, "it never left version 2"


def test_in_one_step_the_server_would_refuse_it_for_ever(base_path, config):
    """The recorded trap, to show that the server these tests use has it."""
    with running(config, base_path) as server:
        config.write_text(entry(base_path, "model_version_policy { specific { versions: 2 versions: 5 } }", stable=5))
        eventually(lambda: len(server.refused) > 3, "several polls")
        assert server.labels == {"stable": 2}
        assert server.available == {2}


def test_rollback_is_one_step_and_the_version_it_leaves_is_unloaded(base_path, config):
    with running(config, base_path) as server:
        for number in (4, 5):
            assert versions("promote", number, f"--config={config}", f"--target={server.target}") == 0
        assert server.available == {4, 5}
        assert versions("rollback", f"--config={config}", f"--target={server.target}") == 0
        assert server.labels == {"stable": 4}
        eventually(lambda: server.available == {4}, "version 5 to be unloaded: unlabelled calls went to it")
        assert versions("rollback", f"--config={config}", f"--target={server.target}") == 0
        assert server.labels == {"stable": 2}, "the one before, which had to be loaded again"
        assert not server.refused


def test_a_version_that_does_not_load_leaves_the_config_as_it_was(base_path, config, capsys):
    before = config.read_text()
    with running(config, base_path, broken=frozenset({6})) as server:
        assert versions("promote", 6, f"--config={config}", f"--target={server.target}") == 1
        eventually(lambda: server.available == {2}, "the old state")
    assert config.read_text() == before
    assert capsys.readouterr().err.splitlines() == [
        "hangtag: the server cannot load version 6 (DATA_LOSS: corrupted), so stable was not moved"
    ]


def test_a_server_that_does_not_read_the_config_again_is_not_waited_for_for_ever(base_path, config, tmp_path, capsys):
    before = config.read_text()
    elsewhere = tmp_path / "elsewhere.config"
    elsewhere.write_text(before)
    with running(elsewhere, base_path) as server:
        assert versions("promote", 6, f"--config={config}", f"--target={server.target}", "--timeout=0.5") == 1
    assert config.read_text() == before
    assert "--model_config_file_poll_wait_seconds" in capsys.readouterr().err


def test_without_a_server_to_watch_the_label_waits_for_a_second_call(base_path, config, capsys):
    assert versions("promote", 5, f"--config={config}") == 0
    assert state(config) == ([2, 5], {"stable": 2})
    assert "run this again" in capsys.readouterr().out
    assert versions("promote", 5, f"--config={config}") == 0
    assert state(config) == ([2, 5], {"stable": 5})
    assert versions("promote", 5, f"--config={config}") == 0
    assert "already" in capsys.readouterr().out


def test_when_no_server_reads_the_config_one_call_is_enough(base_path, config):
    assert versions("promote", 5, f"--config={config}", "--target=none") == 0
    assert state(config) == ([2, 5], {"stable": 5})


def test_a_config_is_begun_where_there_is_none(base_path, tmp_path, capsys):
    """And the command reports it: the name may have been mistyped."""
    config = tmp_path / "new.config"
    assert versions("promote", 3, f"--base-path={base_path}", f"--config={config}") == 0
    assert f"there is no {config}: it is created, for the versions in {base_path}" in capsys.readouterr().out
    assert parsed(config).base_path == str(base_path)
    assert parsed(config).model_platform == "tensorflow"
    assert 3 in state(config)[0]
    assert state(config)[1] == {"stable": 3}
    assert stat.S_IMODE(config.stat().st_mode) == 0o644
    with running(config, base_path) as server:
        assert 3 in server.available


def test_what_was_served_by_the_default_policy_stays_served(base_path, tmp_path):
    """Labels need a specific policy; calls without a label still get the newest version."""
    config = tmp_path / "models.config"
    config.write_text(entry(base_path, stable=6, canary=6))
    with running(config, base_path) as server:
        assert versions("promote", 5, f"--config={config}", f"--target={server.target}") == 0
        assert server.labels == {"stable": 5, "canary": 6}
        assert server.available == {5, 6}
        assert not server.refused


def test_comments_at_the_head_other_models_and_the_mode_are_kept(base_path, config):
    other = 'config { name: "other" base_path: "gs://bucket/other" model_platform: "tensorflow" }'
    config.write_text(config.read_text().replace("model_config_list {", f"model_config_list {{ {other}"))
    config.chmod(0o640)
    assert versions("promote", 2, f"--config={config}", "--label=canary") == 0
    text = config.read_text()
    assert text.startswith("# kept by the platform team\n")
    document = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    names = {found.name: dict(found.version_labels) for found in document.model_config_list.config}
    assert names == {"other": {}, "fashion": {"stable": 2, "canary": 2}}
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert sorted(path.name for path in config.parent.iterdir()) == ["models", "models.config"]


def test_promote_says_when_clients_without_a_label_move(base_path, config, capsys):
    """They get the highest version that is loaded, with any labels."""
    assert versions("promote", 5, f"--config={config}", "--target=none") == 0
    note = "note: clients that give no label get the highest version that is loaded: they move from version"
    assert f"{note} 2 to 5 as soon as the server reads this config" in capsys.readouterr().out
    assert versions("promote", 4, f"--config={config}", "--label=canary", "--target=none") == 0
    assert note not in capsys.readouterr().out, "5 is still the highest"
    assert versions("promote", 6, f"--config={config}", "--label=canary") == 0
    assert f"{note} 5 to 6" in capsys.readouterr().out, "already with the first of two steps"


def test_a_label_that_was_moved_by_hand_is_not_rolled_back_to_a_guess(base_path, config, capsys):
    assert versions("promote", 5, f"--config={config}", "--target=none") == 0
    config.write_text(entry(base_path, "model_version_policy { specific { versions: 2 versions: 4 } }", stable=4))
    assert versions("rollback", f"--config={config}", "--target=none") == 2
    assert "nothing says what stable was before version 4" in capsys.readouterr().err
    assert state(config) == ([2, 4], {"stable": 4})


def test_prune_reads_the_config_when_it_removes(base_path, config):
    """A version that was labelled after the config was first read stays."""
    stale = ModelConfig(config, "fashion")
    config.write_text(entry(base_path, "model_version_policy { specific { versions: 3 } }", stable=3))
    assert prune(base_path, 1, stale) == [1, 2, 4, 5]
    assert numbers(base_path) == ["3", "6"]


def test_prune_removes_links_and_files_that_count_as_versions(base_path):
    """A link is removed, not what it points to."""
    elsewhere = base_path.parent / "elsewhere"
    (base_path / "6").rename(elsewhere)
    (base_path / "6").symlink_to(elsewhere)
    (base_path / "7").write_text("a file")
    (base_path / "08").mkdir()
    assert prune(base_path, 1, None) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(base_path) == ["08"]
    assert (elsewhere / "saved_model.pb").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_config_list {", "is not a model config"),
        ('model_config_list { config { name: "other" base_path: "/x" } }', "has no model 'fashion' (it has other)"),
        ('model_config_list { config { name: "fashion" base_path: "x" } }', "is not absolute"),
        ('model_config_list { config { name: "fashion" base_path: "/x" } config { name: "fashion" } }', "twice"),
        ("custom_model_config { }", "custom_model_config"),
    ],
)
def test_a_config_that_the_server_would_refuse_is_one_sentence(base_path, config, capsys, text, message):
    config.write_text(text)
    assert versions("promote", 3, f"--config={config}", f"--base-path={base_path}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert config.read_text() == text


def test_what_cannot_be_promoted_or_rolled_back_is_one_sentence(base_path, config, tmp_path, capsys):
    for arguments, code, expected in (
        (("promote", 9, f"--config={config}"), 2, "has no version 9: it has 1, 2, 3, 4, 5, 6"),
        (("rollback", f"--config={config}"), 2, "nothing says what stable was before version 2"),
        (("rollback", f"--config={config}", "--label=canary"), 2, "has no label 'canary'"),
        (("rollback", f"--config={tmp_path / 'no.config'}", f"--base-path={base_path}"), 2, "there is no"),
        (("list", f"--base-path={tmp_path / 'nothing'}"), 2, "there is no folder"),
        (("list", f"--base-path={tmp_path}"), 2, "has no folder whose name is a number"),
        (("list", f"--base-path={base_path / '3'}"), 2, f"not a base path: give {base_path}"),
        (("promote", 3, f"--config={tmp_path / 'no' / 'x'}", f"--base-path={base_path}"), 2, "cannot write"),
    ):
        assert versions(*arguments) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert expected in line
    assert state(config) == ([2], {"stable": 2})
