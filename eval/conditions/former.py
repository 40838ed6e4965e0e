"""What test conditions were called in earlier releases: results, hypotheses and patterns of those
are still read."""

from __future__ import annotations

from typing import Any

_CHANGED = (
    (", silent)", ", unindicated)"),
    ("(silent)", "(unindicated)"),
    ("(signalled)", "(indicated)"),
    ("out of step", "out of sync"),
)


def current(text: str) -> str:
    """A label, a key or a pattern, in the words of this release."""
    for before, now in _CHANGED:
        text = text.replace(before, now)
    return text


def all_current(value: Any) -> Any:
    """Every text in a part of a JSON file, keys too."""
    if isinstance(value, str):
        return current(value)
    if isinstance(value, list):
        return [all_current(item) for item in value]
    if isinstance(value, dict):
        return {current(key): all_current(item) for key, item in value.items()}
    return value
