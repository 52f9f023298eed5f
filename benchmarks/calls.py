"""The functions of the client that one image passes through, counted: once the client knows the model.

    python benchmarks/calls.py [--list]

A constant server answers; counted are calls of Python functions of `hangtag`, by sys.setprofile. A generator that is
resumed counts again.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import hangtag
from hangtag import Client

OURS = str(Path(hangtag.__file__).parent)


def calls_of(call: Callable[[], object]) -> list[tuple[str, str]]:
    """(module, function) for each call of a function of ours that `call` makes, in order."""
    found: list[tuple[str, str]] = []

    def note(frame, event: str, _: object) -> None:
        code = frame.f_code
        ours = code.co_filename.startswith(OURS) or str(frame.f_globals.get("__name__")).startswith("hangtag.")
        if event == "call" and ours:
            found.append((code.co_filename.removeprefix(OURS + "/"), code.co_qualname))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def main() -> None:
    from client import constant
    from workers import IMAGES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="show every call")
    arguments = parser.parse_args()
    for protocol in ("grpc", "rest"):
        with constant(protocol) as address:
            target = address if protocol == "grpc" else f"http://{address}"
            with Client(target, labels=[str(number) for number in range(10)]) as client:
                client.classify(IMAGES[:1])
                client.classify(IMAGES[:1])
                for name, images in (("images[0]", IMAGES[0]), ("images[:1]", IMAGES[:1])):
                    found = calls_of(lambda images=images: client.classify(images))
                    modules = Counter(module for module, _ in found)
                    print(f"{protocol} {name}: {len(found)} calls through {len(modules)} modules")
                    if arguments.list:
                        print("\n".join(f"    {module:<28}{function}" for module, function in found))


if __name__ == "__main__":
    main()
