"""The command line: one module a command, put together in program.py."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line, see program.main; what it needs is imported when it is called."""
    from avsr.cli import program

    return program.main(arguments)
