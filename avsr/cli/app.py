"""avsr app: the same in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from avsr.base.console import say
from avsr.cli.options import DeviceOption, adapted
from avsr.cli.transcribe import AdapterOption, ModelOption


def app(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Other machines reach 0.0.0.0; none by default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 7860,
    model: ModelOption = "default",
    adapter: AdapterOption = None,
    device: DeviceOption = "auto",
    max_mb: Annotated[
        float, typer.Option(min=1, metavar="MB", help="Size of an upload or a recording.")
    ] = 500,
    max_minutes: Annotated[
        float, typer.Option(min=0.1, metavar="MIN", help="How long a recording may last.")
    ] = 120,
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Recordings at a time; others wait.")
    ] = 1,
    queue: Annotated[int, typer.Option(min=1, metavar="N", help="How many may wait.")] = 100,
    live: Annotated[int, typer.Option(min=1, metavar="N", help="Live captions at a time.")] = 2,
    keep_minutes: Annotated[
        float,
        typer.Option(min=1, metavar="MIN", help="A result that nobody looks at is removed then."),
    ] = 60,
    keep_gb: Annotated[
        float, typer.Option(min=0.001, metavar="GB", help="What is kept at once, of everybody.")
    ] = 10,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Open the page on this machine: transcribe, caption live, correct and download.

    Nothing leaves the machine, and no network is needed. Ctrl-C ends it, and removes what was
    uploaded.
    """
    from avsr.app.server import Limits, serve

    def told(address: str) -> None:
        print(address, flush=True)
        say("open this address in a browser; Ctrl-C ends it")
        if open_:
            import webbrowser

            webbrowser.open(address)

    limits = Limits(max_mb, max_minutes, jobs, queue, live, keep_minutes, keep_gb)
    serve(adapted(model, adapter), device, limits, host, port, told)
