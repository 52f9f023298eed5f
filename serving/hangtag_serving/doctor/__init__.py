"""`hangtag doctor`: reports problems of models, deployments and servers before they do harm.

Each module examines one kind of subject: model_files and savedmodel models on disk, compose and kubernetes deployment
files, running_server a server. deployment reads the files; container and server_flags have the checks that compose and
Kubernetes share. All of them yield findings and raise nothing. metrics is the exporter for Prometheus.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    `level` is ok, warn (works, with a problem for some users) or fail (does not work). `code` identifies the check and
    never changes; `subject` is the file, folder or server; `message` describes the result, and `fix` says what to do.
    """

    level: str
    code: str
    subject: str
    message: str
    fix: str = ""

    def line(self) -> str:
        """The finding as text."""
        return f"{self.level:4}  {self.subject}: {self.message}" + (f" -> {self.fix}" if self.fix else "")

    def document(self) -> dict[str, str]:
        """The finding for --json."""
        return asdict(self)
