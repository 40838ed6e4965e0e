"""avsr models: what can be named."""

from __future__ import annotations

import sys

from avsr.base.console import say


def models() -> None:
    """List the models that can be named: bundled with avsr, or in your data folder."""
    from rich.console import Console
    from rich.table import Table

    from avsr.model import checkpoint

    found = checkpoint.list_models()
    if not found:
        say(f"no model is installed; put one into {checkpoint.data_folder()}")
    columns = ("name", "where", "MB", "parameters", "tokens", "knows", "sha256")
    table = Table(*columns, box=None, pad_edge=False)
    for entry in found:
        knows = entry.problem or str(entry.info.get("knows", ""))
        size, default = (
            f"{entry.size_bytes / 1e6:.1f}",
            " (default)" if entry.name == checkpoint.DEFAULT else "",
        )
        row = (
            entry.name + default,
            entry.where,
            size,
            f"{entry.parameters:,}",
            str(entry.vocabulary),
            knows,
        )
        table.add_row(*row, entry.sha256[:16])
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)
