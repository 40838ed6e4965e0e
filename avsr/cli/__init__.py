"""The command line: one module a command, put together in program.py."""

from __future__ import annotations

from collections.abc import Sequence

from avsr.base.processes.signals import watched


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: without the program's name; sys.argv by default, this process then being the
            command's alone.

    Returns:
        The exit status: 0 all well, 1 some input failed (the others are done), 2 wrong usage, 128
            and the number of the signal that stopped it.
    """
    with watched(for_good=arguments is None):  # imports take the longest, and may be interrupted
        from avsr.cli import program

        return program.main(arguments)
