"""What an examination yields: one line each, with what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """`level` ok, warn (works, and will trouble someone) or fail (will not work); `mend` is what to do."""

    level: str
    subject: str
    words: str
    mend: str = ""

    def line(self) -> str:
        """For a person."""
        return f"{self.level:4}  {self.subject}: {self.words}" + (f" -> {self.mend}" if self.mend else "")

    def document(self) -> dict[str, str]:
        """For --json."""
        return asdict(self)
