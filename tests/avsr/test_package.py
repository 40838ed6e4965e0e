"""What `import avsr` offers."""

from __future__ import annotations

import inspect
import subprocess
import sys

import avsr


def test_every_name_offered_is_there():
    for name in avsr.__all__:
        assert getattr(avsr, name) is not None
        assert name in dir(avsr)


def test_transcribe_stays_the_function_whoever_imports_its_module():
    code = """
import avsr.transcribing.transcribe, avsr
from avsr import transcribe
from avsr.transcribing.transcribe import transcribe as again
import importlib
importlib.import_module("avsr.transcribing.transcribe")
assert avsr.transcribe is transcribe is again and callable(transcribe)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert inspect.isfunction(avsr.transcribe)


def test_importing_it_waits_for_nothing():
    code = "import sys, avsr, avsr.cli; print('numpy' in sys.modules, 'typer' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False False\n"
