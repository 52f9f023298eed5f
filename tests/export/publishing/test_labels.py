"""`hangtag versions promote` and `rollback`: which version a label means, as the server sees it."""

from __future__ import annotations

import stat

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from config_server import running
from hangtag import Client
from support import eventually
from versions_command import entry, parsed, state, versions


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
    assert f"step 1 of 2: {config} lists version 3; canary moves when that is AVAILABLE" in output


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
                f"hangtag: stable is version 5 in {config}, but the server did not use it within 0.3 s: "
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
    note = "note: clients that give no label get the newest version that is loaded: they switch from version"
    assert f"{note} 2 to 5 as soon as the server reads this config" in capsys.readouterr().out
    assert versions("promote", 4, f"--config={config}", "--label=canary", "--target=none") == 0
    assert note not in capsys.readouterr().out, "5 is still the highest"
    assert versions("promote", 6, f"--config={config}", "--label=canary") == 0
    assert f"{note} 5 to 6" in capsys.readouterr().out, "already with the first of two steps"


def test_a_label_that_was_moved_by_hand_is_not_rolled_back_to_a_guess(base_path, config, capsys):
    assert versions("promote", 5, f"--config={config}", "--target=none") == 0
    config.write_text(entry(base_path, "model_version_policy { specific { versions: 2 versions: 4 } }", stable=4))
    assert versions("rollback", f"--config={config}", "--target=none") == 2
    assert "the previous version of stable, before version 4, is not known" in capsys.readouterr().err
    assert state(config) == ([2, 4], {"stable": 4})


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
    (base_path / "7").write_text("a file")
    (base_path / "8").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for arguments, code, expected in (
        (("promote", 9, f"--config={config}"), 2, "has no version 9: it has 1, 2, 3, 4, 5, 6, 7, 8"),
        (("rollback", f"--config={config}"), 2, "the previous version of stable, before version 2, is not known"),
        (("rollback", f"--config={config}", "--label=canary"), 2, "has no label 'canary'"),
        (("rollback", f"--config={tmp_path / 'no.config'}", f"--base-path={base_path}"), 2, "there is no"),
        (("list", f"--base-path={tmp_path / 'nothing'}"), 2, "there is no folder"),
        (("list", f"--base-path={tmp_path}"), 2, "has no version (a folder whose name is a number)"),
        (("list", f"--base-path={base_path / '3'}"), 2, f"not a base path: give {base_path}"),
        (("promote", 7, f"--config={config}"), 2, "7 holds no saved_model.pb, so no server can load it"),
        (("promote", 8, f"--config={config}"), 2, "8 holds no saved_model.pb"),
        (("promote", 3, f"--config={tmp_path / 'loop'}", f"--base-path={base_path}"), 2, "cannot read"),
        (("promote", 3, f"--config={tmp_path / 'no' / 'x'}", f"--base-path={base_path}"), 2, "cannot write"),
    ):
        assert versions(*arguments) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert expected in line
    for label in ("", "\x1b[31m", "a\nb"):
        with pytest.raises(SystemExit):
            versions("promote", 3, f"--config={config}", f"--label={label}")
    assert state(config) == ([2], {"stable": 2})


def test_a_config_with_a_byte_order_mark_and_a_history_with_odd_numbers(base_path, config, tmp_path, capsys):
    """As editors on Windows, and other programs, leave them."""
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes())
    assert versions("promote", 3, f"--config={config}", "--target=none") == 0
    assert state(config) == ([2, 3], {"stable": 3})
    history = tmp_path / "models.config.history"
    history.write_text(history.read_text().replace('"from": 2', '"from": 1e400'))
    assert versions("rollback", f"--config={config}") == 2
    assert "is not a history of labels" in capsys.readouterr().err
