"""Which folders in a base path are versions, and what is no base path."""

from __future__ import annotations

from hangtag.cli.main import main
from hangtag_export.base_path import folders, newest, versions
from hangtag_export.publishing.atomic import publish, staging
from hangtag_serving.models import version_policy


def test_names_are_versions_as_the_server_reads_them(tmp_path):
    """absl::SimpleAtoi takes signs, zeros and surrounding blanks; of two names for one number the last counts."""
    for name in ("1", "+5", "-2", " 7 ", "00000007", "7.tmp", ".9", "tmp-8", "notes", "99999999999999999999"):
        (tmp_path / name).mkdir()
    numbered = {-2: "-2", 1: "1", 5: "+5", 7: "00000007"}
    assert folders(tmp_path) == {number: tmp_path / name for number, name in numbered.items()}
    assert folders(tmp_path) == version_policy.scan(tmp_path), "the embedded server agrees"
    assert newest(tmp_path) == tmp_path / "00000007"
    assert versions(tmp_path / "nothing") == []
    with staging(tmp_path) as folder:
        assert publish(folder, tmp_path) == 8


def test_a_version_is_no_base_path(exported, capsys):
    """A server would not find a version within a version; it is refused before the training."""
    assert main(["export", f"--base-path={exported / '1'}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"hangtag: {exported / '1'} is a version (it holds saved_model.pb), not a base path: give {exported}\n"
    )
    assert versions(exported / "1") == []


def test_a_file_is_no_base_path(tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name, what in (("file", "a file"), ("link", "a link that leads nowhere")):
        assert main(["export", f"--base-path={tmp_path / name}"]) == 2
        assert f"{tmp_path / name} is {what}: a base path is a folder of versions" in capsys.readouterr().err
