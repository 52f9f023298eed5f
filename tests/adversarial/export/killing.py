"""Runs `promote` and `prune` in child processes that are killed at each moment that Python reports.

``python killing.py promote BASE CONFIG``: print one JSON line for each kill: the label after it, and after a rollback.
``python killing.py prune BASE``: print one JSON line for each kill: the versions that are then listed.
``python killing.py beside BASE CONFIG ROUNDS``: run prune beside promote; print the label and the versions.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "export" / "publishing"))

from publisher import die_at

from hangtag.errors import HangtagError
from hangtag_export.base_path import versions
from hangtag_export.publishing.labels import NO_SERVER, Place, promote, rollback
from hangtag_export.publishing.model_config import ModelConfig
from hangtag_export.publishing.versions import prune

FILES = ("saved_model.pb", "variables/data", "variables/index")


def silent(_: str) -> None:
    """Say nothing."""


def write_version(base_path: Path, number: int) -> None:
    for name in FILES:
        file = base_path / str(number) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 1000)


def child(work: Callable[[], object]) -> int:
    """Run `work` in a child process and return its process id."""
    process = os.fork()
    if not process:
        try:
            work()
        except HangtagError:
            os._exit(3)
        os._exit(0)
    return process


def killed_everywhere(
    prepare: Callable[[], object], work: Callable[[], object], report: Callable[[int], object]
) -> None:
    """Kill `work` at moment 1, 2, 3… until it ends; `report` the state after each."""
    moment = 0
    while True:
        moment += 1
        prepare()

        def dying(moment: int = moment) -> None:
            die_at(moment)
            work()

        _, status = os.waitpid(child(dying), 0)
        report(moment)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, status
            return


def kill_promote(base_path: Path, config: Path) -> None:
    start = config.read_text()
    place = Place(config, "fashion", "stable", base_path)

    def label() -> int:
        return ModelConfig(config, "fashion").labels["stable"]

    def prepare() -> None:
        config.write_text(start)
        config.with_name(f"{config.name}.history").unlink(missing_ok=True)
        promote(2, place, NO_SERVER, silent)

    def report(moment: int) -> None:
        after = label()
        rollback(place, NO_SERVER, silent)
        print(json.dumps({"moment": moment, "label": after, "rolled back": label()}), flush=True)

    killed_everywhere(prepare, lambda: promote(5, place, NO_SERVER, silent), report)

    def prepare_rollback() -> None:
        prepare()
        promote(5, place, NO_SERVER, silent)

    def report_rollback(moment: int) -> None:
        after = label()
        rollback(place, NO_SERVER, silent)
        print(json.dumps({"moment": moment, "label": after, "rolled back": label()}), flush=True)

    killed_everywhere(prepare_rollback, lambda: rollback(place, NO_SERVER, silent), report_rollback)


def kill_prune(base_path: Path) -> None:
    def prepare() -> None:
        for number in (1, 2, 3):
            write_version(base_path, number)

    def report(moment: int) -> None:
        complete = [
            number for number in versions(base_path) if all((base_path / str(number) / name).exists() for name in FILES)
        ]
        print(json.dumps({"moment": moment, "listed": versions(base_path), "complete": complete}), flush=True)

    killed_everywhere(prepare, lambda: prune(base_path, 1, None), report)


def beside(base_path: Path, config: Path, rounds: int) -> None:
    """Prune with a config that was read before, while a label moves to a version that prune would remove."""
    start, chance = config.read_text(), random.Random(2)
    place = Place(config, "fashion", "stable", base_path)
    for _ in range(rounds):
        shutil.rmtree(base_path)
        for number in (1, 2, 3):
            write_version(base_path, number)
        config.write_text(start)
        stale = ModelConfig(config, "fashion")
        work = [lambda stale=stale: prune(base_path, 1, stale), lambda: promote(2, place, NO_SERVER, silent)]
        chance.shuffle(work)
        first = child(work[0])
        time.sleep(chance.random() * 0.004)
        second = child(work[1])
        for process in (first, second):
            os.waitpid(process, 0)
        label = ModelConfig(config, "fashion").labels["stable"]
        print(json.dumps({"label": label, "versions": versions(base_path)}), flush=True)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "promote":
        kill_promote(Path(arguments[0]), Path(arguments[1]))
    elif what == "prune":
        kill_prune(Path(arguments[0]))
    else:
        beside(Path(arguments[0]), Path(arguments[1]), int(arguments[2]))
