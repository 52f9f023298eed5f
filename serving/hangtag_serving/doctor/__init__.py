"""`hangtag doctor`: reports what would go wrong, before it does.

One module for each place it looks: model_files and savedmodel (models on disk), compose and kubernetes (deployment
files; deployment reads them, container and server_flags hold what both are checked for), running_server. Each yields
findings and raises nothing. metrics is the exporter for Prometheus.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    `level` is ok, warn (works, with a problem for some users) or fail (does not work). `code` names the check and never
    changes; `subject` is the file, folder or server; `message` says what was found and `fix` what to do.
    """

    level: str
    code: str
    subject: str
    message: str
    fix: str = ""

    def line(self) -> str:
        """For a person."""
        return f"{self.level:4}  {self.subject}: {self.message}" + (f" -> {self.fix}" if self.fix else "")

    def document(self) -> dict[str, str]:
        """For --json."""
        return asdict(self)
