"""The conventions of the command line: help with examples, suggestions, completion, colours, the closing line."""

from __future__ import annotations

import argparse
import os
import pty
import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from fake_server import FIRST_PIXEL, Model, model_server
from hangtag.cli.main import COMMANDS, build_parser, main
from support import HANGTAG, PATIENCE, free_port


def help_of(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([*argv, "--help"])
    assert exit_.value.code == 0
    return capsys.readouterr().out


def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options_of(command)
        else:
            yield action


def test_the_help_lists_every_command(capsys):
    text = help_of(capsys)
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", text, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_explained_with_two_examples_that_parse(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(capsys, name)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    examples = re.findall(r"^  (?:source <\()?(hangtag [^)\n]*)", text.partition("\nexamples:\n")[2], re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        argv = shlex.split(example.partition(" && ")[0])
        assert argv[1] == name
        assert callable(build_parser([name]).parse_args(argv[1:]).run)
    description = text.partition("\n\n")[2].partition("\n\n")[0]
    assert description.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_an_option_is_a_phrase_of_its_own(name):
    for option in options_of(build_parser([name])):
        if option.help != argparse.SUPPRESS:
            assert option.help, option
            assert not re.match(r"(of|for|that|to|between|in|by|default)\b", option.help), option
            assert not option.help.endswith("."), option


def test_without_arguments_it_shows_the_first_three_steps(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^  hangtag (\w+)", out, re.MULTILINE) == ["export", "serve", "classify"]


WRONG = [
    (["clasify", "x.png"], "hangtag: there is no command 'clasify': did you mean classify?"),
    (["xyz"], "hangtag: there is no command 'xyz' (hangtag --help explains the arguments)"),
    (["--versoin"], "hangtag: unknown flag --versoin: did you mean --version?"),
    (["classify", "--taget=x", "y"], "hangtag classify: unknown flag --taget: did you mean --target?"),
    (["classify", "x", "--prepare=foto"], "'foto' is not one of photo: did you mean photo?"),
    (["status", "x"], "hangtag status: unexpected argument 'x' (hangtag status --help explains the arguments)"),
    (["versions", "lst"], "hangtag versions: ACTION: 'lst' is not one of list, prune, promote, rollback: did you mean"),
    (["versions", "list", "--jsn"], "hangtag versions list: unknown flag --jsn: did you mean --json?"),
    (["classify"], "hangtag classify: the following arguments are required: IMAGE"),
]


@pytest.mark.parametrize(("argv", "message"), WRONG, ids=[" ".join(argv) for argv, _ in WRONG])
def test_wrong_usage_is_one_line_that_names_the_nearest_word(capsys, argv, message):
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_range_that_looks_like_a_flag_is_a_value():
    arguments = build_parser(["classify"]).parse_args(["classify", "x.png", "--pixels", "-1..1", "--top", "2"])
    assert (arguments.pixels, arguments.top, arguments.images) == ("-1..1", 2, ["x.png"])


def test_a_flag_is_never_abbreviated(capsys):
    with pytest.raises(SystemExit):
        main(["status", "--tar=x"])
    assert "did you mean --target?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [("hangtag cl", {"classify"}), ("hangtag status --targ", {"--target"}), ("hangtag status --language z", {"zh"})],
)
def test_bash_completes_commands_flags_and_choices(line, expected):
    argv = line.split()
    script = subprocess.run(["hangtag", "completion", "bash"], capture_output=True, text=True, check=True).stdout
    call = f"""
COMP_WORDS=({" ".join(argv)}); COMP_CWORD={len(argv) - 1}; COMP_LINE={shlex.quote(line)}; COMP_POINT={len(line)}
$(complete -p hangtag | sed -E 's/.*-F ([^ ]+).*/\\1/') hangtag {argv[-1]} {argv[-2]} 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script + call], capture_output=True, text=True, check=True)
    assert {word.strip() for word in done.stdout.split()} == expected


def test_zsh_gets_a_completion_function_of_every_command():
    script = subprocess.run(["hangtag", "completion", "zsh"], capture_output=True, text=True, check=True).stdout
    assert script.startswith("#compdef hangtag")
    assert all(f"    {name}:'" in script for name in COMMANDS)


def on_terminal(*arguments: str, **environment: str) -> str:
    """What a terminal shows of a command."""
    controller, terminal = pty.openpty()
    unset = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    process = subprocess.Popen(
        [*HANGTAG, *arguments], stdout=terminal, stderr=terminal, env=unset | {"TERM": "xterm"} | environment
    )
    os.close(terminal)
    shown = b""
    try:
        while piece := os.read(controller, 4096):
            shown += piece
    except OSError:  # the terminal is closed when the process has ended
        pass
    finally:
        os.close(controller)
    process.wait(PATIENCE)
    return shown.decode()


def test_a_terminal_shows_colours_and_what_to_do_next():
    with model_server(Model(FIRST_PIXEL), "grpc") as target:
        coloured = on_terminal("status", "--target", target)
        plain = on_terminal("status", "--target", target, NO_COLOR="1")
        dumb = on_terminal("status", "--target", target, TERM="dumb")
        piped = subprocess.run(["hangtag", "status", "--target", target], capture_output=True, text=True, check=True)
    assert "\x1b[32mAVAILABLE\x1b[0m" in coloured
    for shown in (plain, dumb):
        assert "\x1b[" not in shown
        assert shown.splitlines()[-1] == "1 of 1 versions of fashion are AVAILABLE; next: hangtag classify IMAGE"
    assert (piped.stdout, piped.stderr) == ("     1  AVAILABLE\n", "")


def test_serving_a_base_path_without_a_version_says_how_to_create_one(tmp_path):
    ports = [f"--port={free_port()}", f"--rest_api_port={free_port()}"]
    with subprocess.Popen([*HANGTAG, "serve", *ports], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        line = next(line for line in process.stderr if "no version of a model" in line)
        process.kill()
    assert "models/fashion has no version of a model yet." in line
    assert "hangtag export --base-path models/fashion" in line
