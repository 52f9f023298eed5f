"""The choice between two ways of doing the same work."""

from __future__ import annotations

import random

import pytest

from hangtag_serving.fast.measured_choice import MeasuredChoice


class Work:
    """Jobs of 100 bytes, one after the other, that take a second by one way and `other` seconds by the other."""

    def __init__(self, first: float, other: float) -> None:
        self.now, self._seconds = 0.0, {True: first, False: other}
        self.choice = MeasuredChoice(lambda: self.now)
        self.used = {True: 0, False: 0}

    def do(self, jobs: int, first: float | None = None) -> None:
        if first is not None:
            self._seconds[True] = first
        for _ in range(jobs):
            way = self.choice.first
            finished = self.choice.started(100)
            self.now += self._seconds[way] * random.Random(jobs).uniform(0.9, 1.1)
            finished()
            self.used[way] += 1


@pytest.mark.parametrize(("first", "other", "better"), [(1.0, 2.0, True), (2.0, 1.0, False)])
def test_the_faster_way_does_most_of_the_work(first, other, better):
    work = Work(first, other)
    work.do(5000)
    assert work.used[better] > 0.85 * 5000
    assert work.used[not better] > 0, "the other way is tried now and then"


def test_a_way_that_becomes_faster_is_noticed():
    work = Work(3.0, 1.0)
    work.do(2000)
    before = work.used[True]
    work.do(5000, first=0.3)
    assert work.used[True] - before > 3000


def test_time_without_work_does_not_count():
    work = Work(1.0, 2.0)
    for _ in range(3000):
        work.do(1)
        work.now += 1000 if work.choice.first else 0
    assert work.used[True] > work.used[False]
