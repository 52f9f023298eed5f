"""The client's figures, each compared with the peers' in the same run.

    python benchmarks/client.py [--only imports,size,codec,grpc,photos,memory,serve,rest,stream]
        [--base-path models/fashion]

Peers: tensorflow-serving-api with make_tensor_proto, ovmsclient 2023.1 with a fixed version, requests with
json.dumps(tolist()). ovmsclient is installed into build/benchmarks, a folder of its own. `serve` needs a model under
--base-path (`make train` makes one).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from figures import record
from processes import Times, constant, hangtag_serve, ovms, per_round, side_by_side, work

HERE = Path(__file__).parent
IMAGE = HERE.parent / "docs" / "images" / "ankle-boot.png"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="figures, separated by commas")
    parser.add_argument("--base-path", type=Path, default=Path("models/fashion"))
    arguments = parser.parse_args()
    figures: dict[str, Callable[[], None]] = {
        "imports": imports,
        "size": size,
        "codec": codec,
        "grpc": constant_grpc,
        "photos": photos,
        "memory": memory,
        "serve": lambda: embedded(arguments.base_path),
        "rest": constant_rest,
        "stream": stream,
    }
    for name in arguments.only.split(",") if arguments.only else figures:
        figures[name]()
    return 0


def note(what: str, value: str) -> None:
    print(f"  {what:<72}{value:>12}", flush=True)


def figure(key: str, what: str, baseline: str, ratios: list[float], **more: Any) -> None:
    """A figure of the group `client`; `part` is the part of this script that prints it."""
    part = more.pop("part")
    record(f"client.{key}", what, baseline, ratios, command=f"python benchmarks/client.py --only {part}", **more)


def imports() -> None:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}  # users have byte code after the first call

    def seconds(*arguments: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
        return time.perf_counter() - began

    statements = {
        "pass": ["-c", "pass"],
        "import numpy": ["-c", "import numpy"],
        "import numpy, grpc": ["-c", "import numpy, grpc"],
        "from hangtag import Client": ["-c", "from hangtag import Client"],
        "with its first gRPC call": ["-c", "from hangtag import Client; import hangtag.transports.grpc, grpc"],
        "hangtag --help": ["-m", "hangtag.cli", "--help"],
        "hangtag classify": ["-m", "hangtag.cli", "classify", str(IMAGE), "--target"],
        "tensorflow_serving.apis": ["-c", "from tensorflow_serving.apis import predict_pb2"],
    }
    times: Times = {name: [] for name in statements}
    with constant("grpc") as target:
        statements["hangtag classify"].append(target)
        for number in range(9):
            for name, arguments in statements.items():
                if name != "tensorflow_serving.apis" or number < 2:  # which takes seconds
                    times[name].append(seconds(*arguments))
    bare = min(times["pass"])
    over = {name: min(values) - bare for name, values in times.items()}
    for name, value in over.items():
        note(f"{name}: milliseconds over an empty Python", f"{1000 * value:.0f}")
    figure(
        "help", "`hangtag --help`", "python -c pass", [min(times["hangtag --help"]) / bare],
        part="imports", absolute=f"{1000 * over['hangtag --help']:.0f} ms more",
    )  # fmt: skip
    figure(
        "one-file", "`hangtag classify` of one PNG file, gRPC", "python -c 'import numpy, grpc'",
        [min(times["hangtag classify"]) / min(times["import numpy, grpc"])],
        part="imports", absolute=f"{1000 * min(times['hangtag classify']):.0f} ms",
    )  # fmt: skip
    figure(
        "import", "`from hangtag import Client`", "import numpy",
        [over["from hangtag import Client"] / over["import numpy"]],
        part="imports", absolute=f"{1000 * over['from hangtag import Client']:.0f} ms",
    )  # fmt: skip
    theirs = over["tensorflow_serving.apis"]
    figure(
        "import-grpc", "import, with the modules that the first gRPC call loads", "import tensorflow_serving.apis",
        [over["with its first gRPC call"] / theirs], part="imports", absolute=f"baseline {theirs:.1f} s",
    )  # fmt: skip


def size() -> None:
    """What pip puts on the disk, compiled files included."""

    def closure(name: str, seen: set[str]) -> set[str]:
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key not in seen:
            seen.add(key)
            for line in metadata.requires(name) or []:
                if "extra ==" not in line:
                    closure(re.split(r"[\s;<>=!~\[(]", line)[0], seen)
        return seen

    def mebibytes(names: set[str]) -> float:
        files = [file.locate() for name in names for file in metadata.files(name) or []]
        return sum(Path(file).stat().st_size for file in files if Path(file).is_file()) / 2**20

    own = sum(file.stat().st_size for file in Path("client/hangtag").rglob("*") if file.is_file()) / 2**20
    needed = closure("hangtag", set()) - {"hangtag"}
    numpy = mebibytes({"numpy"})
    total = mebibytes(needed) + own
    note(f"hangtag with {', '.join(sorted(needed))}, MiB", f"{total:.0f}")
    figure(
        "size", "the base install on disk", "numpy", [total / numpy],
        part="size", absolute=f"{total - numpy:.0f} MiB more than numpy's {numpy:.0f}",
    )  # fmt: skip


def codec() -> None:
    found = side_by_side({"hangtag": lambda: work("codec_hangtag"), "tensorflow": lambda: work("codec_tensorflow")})
    ours, theirs = found["hangtag"], found["tensorflow"]
    figure(
        "encode", "encode 256 uint8 images", "array.tobytes()", per_round(ours["encode"], ours["tobytes"]),
        part="codec", absolute=f"{1e6 * min(ours['encode']):.1f} us",
    )  # fmt: skip
    figure(
        "decode", "decode the response of 256 images", "tf.make_ndarray", per_round(ours["decode"], theirs["decode"]),
        part="codec", absolute=f"{1e6 * min(ours['decode']):.1f} us",
    )  # fmt: skip


def best(times: Times) -> list[float]:
    """Seconds for 10,000 images at the chunk size that is best over all rounds."""
    sizes = {key: values for key, values in times.items() if key.startswith("10,000")}
    for key, values in sizes.items():
        note(f"{key}, thousand images a second", f"{10 / min(values):.0f}")
    return min(sizes.values(), key=min)


def _grpc(target: str, *, all_peers: bool) -> dict[str, Times]:
    jobs = {
        "hangtag": lambda: work("grpc_hangtag", target),
        "tensorflow-serving-api": lambda: work("grpc_tensorflow", target),
    }
    if all_peers:
        path = ovms()
        jobs["tensorflow-serving-api, four threads"] = lambda: work("grpc_tensorflow_threads", target)
        jobs["ovmsclient"] = lambda: work("grpc_ovms", target, PYTHONPATH=path, http_proxy="", https_proxy="")
    return side_by_side(jobs)


def constant_grpc() -> None:
    with constant("grpc") as target:
        found = _grpc(target, all_peers=True)
        run_async = side_by_side({"": lambda: work("async_hangtag", target)})[""]
    times = found["hangtag"]
    for count in (1, 32, 256):
        figure(
            f"classify-{count}", f"`classify` of {count} image{'s' * (count > 1)}, gRPC",
            "the round trip of the same bytes",
            per_round(times[f"classify {count}"], times[f"raw round trip of {count}"]),
            part="grpc", absolute=f"{1e6 * min(times[f'classify {count}']):.0f} us",
        )  # fmt: skip
    ours = best(times)
    for key, peer in (("grpc-10000", "tensorflow-serving-api"), ("grpc-10000-ovms", "ovmsclient")):
        figure(
            key, "10,000 images, gRPC, constant server", f"{peer} at its best chunk size",
            per_round(best(found[peer]), ours), part="grpc", speed=True, absolute=f"{10 / min(ours):.0f} k images/s",
        )  # fmt: skip
    figure(
        "grpc-10000-threads", "10,000 images, gRPC, constant server",
        "tensorflow-serving-api in four threads, at its best chunk size",
        per_round(best(found["tensorflow-serving-api, four threads"]), ours), part="grpc", speed=True,
    )  # fmt: skip
    figure(
        "grpc-10000-async", "10,000 images with AsyncClient, gRPC", "Client",
        per_round(run_async["AsyncClient"], run_async["Client"]), part="grpc",
    )  # fmt: skip


def photos() -> None:
    with constant("grpc", 224, 224, 3) as target:
        found = side_by_side({"": lambda: work("photos", target)})[""]
    figure(
        "photos", "64 photos of 224 x 224 x 3, gRPC", "requests of the same bytes, all at once",
        per_round(found["classify"], found["raw"]), part="photos", absolute=f"{1000 * min(found['classify']):.1f} ms",
    )  # fmt: skip


def memory() -> None:
    with constant("grpc") as target:
        found = side_by_side({"": lambda: work("memory", target)})[""]
    figure("memory", "additional memory for 10,000 images, gRPC", "their bytes", found["bytes for each"], part="memory")


def embedded(base_path: Path) -> None:
    with hangtag_serve(base_path) as target:
        found = _grpc(target, all_peers=False)
        by_path = side_by_side({"": lambda: work("files", target)})[""]
    figure(
        "files", "2,000 JPEG files, gRPC, `hangtag serve`", "the same files, already in memory",
        per_round(by_path["paths"], by_path["bytes"]), part="serve",
        absolute=f"{2 / min(by_path['paths']):.1f} k files/s",
    )  # fmt: skip
    ours = best(found["hangtag"])
    figure(
        "grpc-10000-serve", "10,000 images, gRPC, `hangtag serve`", "tensorflow-serving-api at its best chunk size",
        per_round(best(found["tensorflow-serving-api"]), ours),
        part="serve", speed=True, absolute=f"{10 / min(ours):.0f} k images/s",
    )  # fmt: skip


def constant_rest() -> None:
    with constant("rest") as target:
        jobs = {name: (lambda name=name: work(f"rest_{name}", target)) for name in ("hangtag", "requests")}
        found = side_by_side(jobs)
    ours = best(found["hangtag"])
    figure(
        "rest-10000", "10,000 images, REST, constant server", "requests with tolist() at its best chunk size",
        per_round(best(found["requests"]), ours), part="rest", speed=True, absolute=f"{10 / min(ours):.0f} k images/s",
    )  # fmt: skip
    figure(
        "rest-10000-black", "the same, with half of the pixels black", "requests with tolist(), chunks of 256",
        per_round(found["requests"]["half black"], found["hangtag"]["half black"]), part="rest", speed=True,
    )  # fmt: skip


def stream() -> None:
    with constant("grpc") as target:
        found = work("stream", target)
    figure(
        "stream", "`classify_stream` of a million images", "`classify` of them", [found["classify"] / found["stream"]],
        part="stream", speed=True, absolute=f"{found['growth in MiB']:.1f} MiB more memory",
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
