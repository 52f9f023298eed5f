"""What the edge adds to a call: one embedded server with and without nginx in front, in turn.

    python benchmarks/edge.py [--base-path models/fashion]

With TLS, a token and all limits, as shipped. Each figure is a ratio of median latencies in one run: the call through
the edge to the same call without it. nginx comes from the Debian package, as in the tests.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from figures import record

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from edges import TOKEN, Certificates, edge
from hangtag import TLS, Client
from support import serving

ROUNDS = 5
CALLS = {1: 200, 32: 100, 256: 40}  # of each kind in a round, by images in a call


def median(call: Callable[[], object], count: int) -> float:
    """Seconds."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-path", type=Path, default=Path("models/fashion"))
    arguments = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (max(CALLS), 28, 28), np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        Certificates(folder)
        (folder / "tokens.map").write_text(f'"Bearer {TOKEN}" me;\n')
        with (
            serving(arguments.base_path.absolute(), folder / "log") as server,
            edge(folder / "nginx", folder, [server.rest.removeprefix("http://")], [server.grpc]) as running,
        ):
            options = {"tls": TLS(ca=folder / "ca.crt"), "headers": {"Authorization": f"Bearer {TOKEN}"}}
            for protocol, direct, through in (("gRPC", server.grpc, "grpcs"), ("REST", server.rest, "https")):
                target = f"{through}://localhost:{running.port}"
                with Client(direct) as alone, Client(target, **options) as behind:
                    for count, calls in CALLS.items():
                        ratios = []
                        for _ in range(ROUNDS):
                            seconds = [
                                median(lambda client=client, rows=count: client.classify(images[:rows]), calls)
                                for client in (alone, behind)
                            ]
                            ratios.append(seconds[1] / seconds[0])
                        record(
                            f"edge.{protocol.lower()}_{count}",
                            f"{protocol} through the edge, {count} images a call: latency",
                            "the same call without the edge",
                            ratios,
                            command="python benchmarks/edge.py",
                        )
                        print(f"{protocol} {count:>4} images: {statistics.median(ratios):.2f} x", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
