"""What is the user's own: the folder of models, and what was chosen once and for all."""

from __future__ import annotations

import os
from pathlib import Path

from avsr.base import outputs
from avsr.base.errors import AvsrError


def data_folder() -> Path:
    """Where a user's own named models live: any .safetensors put here can be used by its name.
    AVSR_MODELS names another folder."""
    from platformdirs import user_data_path

    if named := os.environ.get("AVSR_MODELS"):
        return Path(named).expanduser()
    return user_data_path("avsr") / "models"


def default_model() -> str | None:
    """The name of the model that "default" stands for; None where none was chosen."""
    try:
        return _file().read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def choose_default_model(name: str | None) -> None:
    """Remembers a model's name; None goes back to what avsr brings along.

    Raises:
        AvsrError: it cannot be written.
    """
    path = _file()
    try:
        if name is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        outputs.write_file(path, [f"{name}\n".encode()])
    except OSError as error:
        raise AvsrError(f"{path}: cannot be written ({error.strerror}): free space") from error


def _file() -> Path:
    from platformdirs import user_config_path

    return user_config_path("avsr") / "default-model"
