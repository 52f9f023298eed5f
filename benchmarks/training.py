"""What training costs and what comes of it, on Fashion-MNIST. Prints every training figure of docs/benchmarks.md.

    python benchmarks/training.py speed         `hangtag export`'s training beside the tutorial's `model.fit`, in turns
    python benchmarks/training.py determinism   seconds an epoch with and without deterministic ops
    python benchmarks/training.py accuracy      the dense architectures after 5 and 10 epochs, mean of three seeds
    python benchmarks/training.py photos        `hangtag export` on 3 x 200 drawn photos: accuracy, minutes, two seeds
    python benchmarks/training.py memory        peak memory of an epoch on 25,000 generated photos of 224x224 in colour

Read ratios: seconds depend on the machine and on what else runs on it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from figures import record
from hangtag.optional import require
from hangtag_export.data.dataset import Dataset
from hangtag_export.data.fashion_mnist import load_fashion_mnist
from hangtag_export.training import fit
from hangtag_export.training.train import train

SEEDS = (42, 1, 2)


class Clock:
    """Seconds of each epoch, from the lines that training prints."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, line: str) -> None:
        if line.startswith("epoch"):
            self.seconds.append(float(line.split()[-2]))


def tutorial(dataset: Dataset, seed: int, epochs: int) -> tuple[list[float], float]:
    """The tutorial's own lines: seconds of each epoch, and test accuracy."""
    keras = require("keras", extra="export", what="the benchmark")
    keras.utils.set_random_seed(seed)
    train_images, test_images = dataset.train_images / 255.0, dataset.test_images / 255.0
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    ends = []

    class Times(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            ends.append(time.perf_counter() - self.start)

    model.fit(train_images, dataset.train_labels, epochs=epochs, verbose=0, callbacks=[Times()])
    return ends, float(model.evaluate(test_images, dataset.test_labels, verbose=0)[1])


def ours(dataset: Dataset, name: str, seed: int, epochs: int) -> tuple[list[float], float]:
    """The same by `hangtag export`'s training."""
    clock = Clock()
    training = train(dataset, name, epochs=epochs, seed=seed, say=clock)
    return clock.seconds, training.evaluation.accuracy


def speed(dataset: Dataset, epochs: int = 5) -> None:
    rows = []
    for seed in SEEDS:
        plain, plain_accuracy = tutorial(dataset, seed, epochs)
        fast, fast_accuracy = ours(dataset, "dense", seed, epochs)
        rows.append((statistics.median(plain[1:]), statistics.median(fast[1:]), plain_accuracy, fast_accuracy))
        print("seed {}: model.fit {:.2f} s an epoch, ours {:.2f}; test accuracy {:.4f}, {:.4f}".format(seed, *rows[-1]))
    plain_s, fast_s, plain_a, fast_a = (statistics.mean(column) for column in zip(*rows, strict=True))
    record(
        "training.dense",
        "an epoch of `dense`",
        "`model.fit` as in TensorFlow's tutorial",
        [fast / plain for plain, fast, _, _ in rows],
        command="python benchmarks/training.py speed",
        absolute=f"{fast_s:.1f} s for {plain_s:.1f} s",
    )
    print(f"test accuracy after {epochs} epochs: {plain_a:.4f}, {fast_a:.4f}; difference {fast_a - plain_a:+.4f}")


def determinism(dataset: Dataset, epochs: int = 4) -> None:
    ratios = []
    for seed in SEEDS:
        with_it = statistics.median(ours(dataset, "dense", seed, epochs)[0][1:])
        with mock.patch.object(fit, "_deterministic", nullcontext):
            without = statistics.median(ours(dataset, "dense", seed, epochs)[0][1:])
        ratios.append(with_it / without)
        print(f"dense, seed {seed}: {with_it:.2f} s an epoch with deterministic ops, {without:.2f} without")
    print(f"median ratio {statistics.median(ratios):.2f}")


def accuracy(dataset: Dataset) -> None:
    for name in ("dense", "logits", "dense-512"):
        for epochs in (5, 10):
            runs = [ours(dataset, name, seed, epochs) for seed in SEEDS]
            found = [run[1] for run in runs]
            seconds = statistics.median(second for run in runs for second in run[0][1:])
            each = ", ".join(f"{value:.4f}" for value in found)
            mean = statistics.mean(found)
            print(f"{name:9} {epochs:2} epochs: {mean:.4f} ({each}), {seconds:.1f} s an epoch", flush=True)


def photos(dataset: Dataset | None) -> None:
    """Test accuracy of the default architecture on drawn photos, by the how-to's command."""
    with tempfile.TemporaryDirectory() as scratch:
        draw = [sys.executable, str(Path(__file__).parents[1] / "tests" / "make_photos.py"), f"{scratch}/shapes"]
        subprocess.run(draw, check=True)
        for seed in SEEDS[:2]:
            command = [sys.executable, "-m", "hangtag.cli", "export", "--dataset", "shapes", "--seed", str(seed)]
            start = time.perf_counter()
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=scratch) as process:
                printed = process.stdout.read() if process.stdout else ""
                usage = os.wait4(process.pid, 0)[2]
            (accuracy,) = (line.split()[2].rstrip(",") for line in printed.splitlines() if line.startswith("test acc"))
            took = f"{time.perf_counter() - start:.0f} s, {usage.ru_utime + usage.ru_stime:.0f} s of CPU time"
            print(f"seed {seed}: test accuracy {accuracy}, {took}", flush=True)


def memory(dataset: Dataset | None, photos: int = 25_000) -> None:
    """Peak memory of `hangtag export`, all of it, on a tenth of the photos and on all."""
    image = require("PIL.Image", extra="export", what="the benchmark")
    random = np.random.default_rng(0)
    peaks = []
    with tempfile.TemporaryDirectory() as scratch:
        for count in (photos // 10, photos):
            folder = Path(scratch, str(count))
            for name in ("one", "two"):
                (folder / name).mkdir(parents=True)
            drawn = []
            for number in range(100):  # a hundred contents, under many names
                content = Path(scratch, f"{count}-{number}.jpg")
                small = image.fromarray(random.integers(0, 256, (28, 28, 3), dtype=np.uint8))
                small.resize((224, 224)).save(content, quality=80)
                drawn.append(content)
            for number in range(count):
                (folder / ("one", "two")[number % 2] / f"{number}.jpg").hardlink_to(drawn[number % len(drawn)])
            command = [sys.executable, "-m", "hangtag.cli", "export", "--dataset", str(folder), "--image-size", "224"]
            command += ["--epochs", "1", "--force", "--base-path", f"{scratch}/models-{count}"]
            start = time.perf_counter()
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
                usage = os.wait4(process.pid, 0)[2]
            peaks.append(usage.ru_maxrss / 1e6)
            print(f"{count:,} photos: peak {peaks[-1]:.2f} GB, {time.perf_counter() - start:.0f} s", flush=True)
    print(f"growth: {(peaks[1] - peaks[0]) * 1e6 / (photos - photos // 10):.1f} KB a photo; its pixels are 150.5 KB")


def main() -> None:
    commands = {"speed": speed, "determinism": determinism, "accuracy": accuracy, "photos": photos, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=commands, nargs="+")
    chosen = parser.parse_args().what
    dataset = load_fashion_mnist()
    for what in chosen:
        commands[what](dataset)


if __name__ == "__main__":
    main()
