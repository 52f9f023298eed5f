"""Write reference/commands.md from the commands' own help.

python docs/generate_commands.py          write the page
python docs/generate_commands.py --check  exit 1 if the page is out of date
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent / "reference" / "commands.md"
HEAD = """# Commands

What each command prints with `--help`; `docs/generate_commands.py` writes this page. Exit codes: 0 done, 1 the work
failed, 2 bad usage or bad input. An error is one line on standard error; `hangtag --debug COMMAND` shows the traceback.
"""


def help_of(*command: str) -> str:
    """The help text, as a terminal of 100 columns without colours shows it."""
    done = subprocess.run(
        [sys.executable, "-m", "hangtag.cli", *command, "--help"],
        env=os.environ | {"COLUMNS": "100", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def subcommands(text: str) -> list[str]:
    """The commands that a help text lists, one to a line; none unless its usage line names a COMMAND or ACTION."""
    if not re.search(r"(COMMAND|ACTION) \.\.\.", text):
        return []
    return re.findall(r"^ {2,4}([a-z]+) {2,}\S", text.split("options:")[0], re.MULTILINE)


def sections(command: list[str], depth: int) -> str:
    text = help_of(*command)
    title = " ".join(["hangtag", *command])
    out = f"\n{'#' * depth} {title}\n\n```text\n{text.rstrip()}\n```\n"
    for name in subcommands(text) if len(command) < 2 else []:
        out += sections([*command, name], min(depth + 1, 3))
    return out


def main() -> int:
    text = HEAD + sections([], 2)
    if "--check" in sys.argv:
        if PAGE.read_text() != text:
            print(f"{PAGE} is out of date: python docs/generate_commands.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
