"""`hangtag completion`: prints a script with which a shell completes commands, flags, choices and file names."""

from __future__ import annotations

import argparse
from typing import Any

from .terminal import done

_SHELLS = {"bash": "source <(hangtag completion bash)", "zsh": "source <(hangtag completion zsh)"}


def register(commands: Any) -> None:
    """Add the command to the command line."""
    completion = commands.add_parser(
        "completion",
        description="Print a completion script for bash or zsh. Add the command of the example to ~/.bashrc or "
        "~/.zshrc.",
        examples=list(_SHELLS.values()),
    )
    completion.add_argument("shell", choices=tuple(_SHELLS), help="shell that runs the script")
    completion.set_defaults(run=_completion)


def _completion(arguments: argparse.Namespace) -> int:
    import shtab

    from .main import build_parser

    script = shtab.complete(build_parser(), shell=arguments.shell)
    if arguments.shell == "bash":  # complete file names where the script has no other completion
        script = script.replace("\ncomplete -o ", "\ncomplete -o default -o ")
    print(script)
    done("printed the script", next_step=_SHELLS[arguments.shell])
    return 0
