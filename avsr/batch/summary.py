"""What became of the recordings of a call, for people."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

NEAR = 10  # recordings: what failed among so few still stands just above
MOST_FAILURES = 20  # that are named once more at the end


@dataclass
class Summary:
    """Counted as the recordings are done.

    Attributes:
        done, skipped: recordings.
        failures: what could not be done, each with its reason in a line.
        media_s: seconds of the recordings that were done.
    """

    done: int = 0
    skipped: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)
    media_s: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def add(self, file: Path, failure: str | None, media_s: float) -> None:
        """Counts a recording.

        Args:
            file: the recording.
            failure: why it failed, in a line that begins with the file; None where it did not.
            media_s: seconds of it that were recognised.
        """
        if failure is None:
            self.done += 1
        else:
            self.failures.append((file, failure))
        self.media_s += media_s

    def lines(self) -> list[str]:
        """A line with all counts, and among many recordings one for each failure, once more."""
        took_s = time.monotonic() - self._began
        counts = {"done": self.done, "skipped": self.skipped, "failed": len(self.failures)}
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        speed = f"; {self.media_s:.1f} s of media in {took_s:.1f} s"
        if self.media_s > 0:
            speed += f", real-time factor {took_s / self.media_s:.2f}"
        lines = [told + (speed if self.done else "")]
        if sum(counts.values()) <= NEAR:
            return lines
        lines += [f"failed: {reason}" for _, reason in self.failures[:MOST_FAILURES]]
        if len(self.failures) > MOST_FAILURES:
            lines.append(f"failed: {len(self.failures) - MOST_FAILURES} more, named above")
        return lines
