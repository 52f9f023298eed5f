"""What TensorFlow Serving's C++ server, 2.20.0, answered: `client/recorded.jsonl`, one answer a line.

Models: `fashion` (uint8 images to ten probabilities) and `types` (signatures that return their input, one a dtype).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

_FILE = Path(__file__).parent / "client" / "recorded.jsonl"


class Recording(NamedTuple):
    """`call` is the method; `status` a gRPC status name or an HTTP number; `body` the bytes of the answer."""

    protocol: str
    name: str
    call: str
    status: Any
    body: bytes
    details: str

    @property
    def ok(self) -> bool:
        return self.status in ("OK", 200)


def recordings(protocol: str) -> list[Recording]:
    found = []
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        answer = case["response"]
        if case["protocol"] != protocol:
            continue
        if protocol == "grpc":
            status, body, details = (
                answer["code"],
                base64.b64decode(answer.get("bytes_b64") or ""),
                answer.get("details"),
            )
        else:
            status, body, details = answer["status"], answer["body"].encode(), None
        found.append(Recording(protocol, case["id"], case["call"], status, body, details or ""))
    assert found
    return found
