"""What lies beside a recording and what its folders say: text files, word times, names of splits.

Names are compared as people read them: `é` is one letter however a file system spells it (NFC or
NFD), and where no file has exactly the name that is looked for, upper and lower case do not matter.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import WordTimes
from avsr.preprocessing.corpora import plain
from avsr.preprocessing.recordings import MEDIA_SUFFIXES
from avsr.preprocessing.text import canonical

# In English and in some languages of which people keep folders; without accents, see `_bare`.
_SPLIT_NAMES = {
    "train": "train|training|trainings|pre[-_ ]?train|trainval|entrainement|entrenamiento|"
    "treinamento|addestramento|обучение|训练|訓練|学習|훈련|학습",
    "val": "val|valid|validation|validate|dev|devel|development|developpement|validierungs?|"
    "validacion|validacao|validazione|валидация|验证|驗證|検証|검증",
    "test": "tests?|testing|evals?|evaluation|held[-_ ]?out|prueba|pruebas|teste|testes|"
    "тест|测试|測試|テスト|테스트",
}
# `test-clean`, `val_set` and `train2` are splits too; `test-anna` is not known to be one.
_MORE = (
    r"(?:[-_ ]?(?:set|split|data|daten|clips|videos?|list|files|part|clean|other|seen|unseen|"
    r"集|\d+))*"
)
_SPLIT_PATTERNS = {
    name: re.compile(rf"(?:\d+[-_ ])?(?:{known}){_MORE}") for name, known in _SPLIT_NAMES.items()
}

_ENCODINGS = {  # by the mark at the beginning of a file
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OTHER_FORMATS = (
    (re.compile(r".*?-->|WEBVTT\b|\[Script Info\]|\[\d+:\d\d", re.DOTALL), "subtitles"),
    (re.compile(r'(File type = )?"ooTextFile"'), "a TextGrid"),
    (re.compile(r"\{\\rtf"), "RTF"),
    (re.compile(r"%PDF-"), "a PDF"),
    (re.compile(r"\s*(\{|\[\s*[\[{\"])"), "JSON"),
    (
        re.compile(r"\s*<(\?xml|!doctype|/?[a-z]+[^<>]*>.*</?[a-z])", re.IGNORECASE | re.DOTALL),
        "a page or XML",
    ),
    (re.compile(r"(\S+\s+\S+\s+)?\d+\.\d+\s+\d+\.\d+\s+\S"), "a table of times"),
)
_LRS_FIELD = re.compile(r"\s*(text|conf|ref)\s*[:\uff1a](.*)", re.IGNORECASE)
_LRS_TABLE = re.compile(r"\s*(word\s+start\s+end|frame\s+x\s+y)\b", re.IGNORECASE)


def split_named(folder: str) -> str | None:
    """The split that a folder or list of this name holds: `validation`, `Dev` and `val_set` are
    "val".

    Returns:
        "train", "val" or "test"; None where the name is none of a split.
    """
    name = _bare(folder)
    found = (split for split, pattern in _SPLIT_PATTERNS.items() if pattern.fullmatch(name))
    return next(found, None)


def resembles_split(folder: str) -> bool:
    """Whether a name that is none of a split holds one all the same, such as `my-train` or
    `lrs3_val`."""
    words = re.split(r"[\W_]+", _bare(folder))
    return split_named(folder) is None and any(map(split_named, words))


def _bare(name: str) -> str:
    """A name without letter case, width, accents and the white space around it."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    bare = "".join(char for char in letters if not unicodedata.combining(char))
    return unicodedata.normalize("NFKC", bare).strip()


def beside(path: Path, suffix: str) -> Path | None:
    """The file of the same name with another suffix, such as `hello.txt` beside `hello.mp4`.

    Args:
        path: the recording.
        suffix: with its dot, in lower case.

    Returns:
        The file of exactly that name; else the one whose name is the same letters (NFC, NFD); else
        the only one whose name is the same in another case. None where there is none.
    """
    exact = path.with_suffix(suffix)
    if exact.is_file():
        return exact
    wanted = unicodedata.normalize("NFC", exact.name)
    names = _listing(exact.parent)
    same = [name for name in names if unicodedata.normalize("NFC", name) == wanted]
    alike = [name for name in names if _folded(name) == _folded(wanted)]
    # Of `Day.mp4` and `DAY.mp4`, neither may take `day.txt`: it could be the other's.
    recordings = {Path(name).stem for name in names if Path(name).suffix.lower() in MEDIA_SUFFIXES}
    namesakes = [stem for stem in recordings if _folded(stem) == _folded(path.stem)]
    for found in (same, alike if len(namesakes) < 2 else []):
        if len(found) == 1 and (exact.parent / found[0]).is_file():
            return exact.parent / found[0]
    return None


@lru_cache(maxsize=16)
def _listing(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in folder.iterdir()))


def forget_listings() -> None:
    """Looks at folders anew; each listing of a corpus begins with it."""
    _listing.cache_clear()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def read_text(path: Path) -> str:
    """A text file with or without a byte order mark, UTF-8 or marked UTF-16.

    Raises:
        ValueError: it is in another encoding, or not text.
    """
    content = path.read_bytes()
    encoding = next(
        (name for mark, name in _ENCODINGS.items() if content.startswith(mark)), "utf-8"
    )
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{plain(path.name)} is not UTF-8 text") from error
    if "\0" in text:
        raise ValueError(f"{plain(path.name)} is not text")
    return text


def read_list(path: Path) -> dict[str, str]:
    """Clips of a list, one a line, each with what stands behind its name (`ID/00011 NF`: "NF").

    Raises:
        AvsrError: it is not text.
    """
    try:
        lines = read_text(path).splitlines()
    except (ValueError, OSError) as error:
        raise AvsrError(f"{path}: {error}; list one clip a line, such as ID/00001") from error
    listed = {}
    for line in lines:
        name, tag = [*line.split(maxsplit=1), "", ""][:2]
        if name:
            listed[name.removesuffix(".mp4")] = tag.strip()
    return listed


def read_transcript(path: Path) -> tuple[str, WordTimes | None]:
    """What a text file says, and its word times where it is written as LRS2 and LRS3 write theirs.

        Text:  BIN BLUE
        Conf:  4

        WORD START END ASDSCORE
        BIN 0.11 0.32 5.2
        BLUE 0.32 0.60 6.1

    Returns:
        The text on one line, empty where the file holds nothing but white space, and the words in
        seconds.

    Raises:
        ValueError: it is no plain text, and what it is.
    """
    content = read_text(path)
    for pattern, kind in _OTHER_FORMATS:
        if pattern.match(content):
            raise ValueError(
                f"{plain(path.name)} holds {kind}; give the words alone, as plain text"
            )
    lines = [line for line in content.splitlines() if line.strip()]
    text, times = _lrs_text(lines), _lrs_words(lines)
    if text is None:
        text, times = " ".join(content.split()), None
    return text if canonical(text) else "", times  # nothing but what cannot be seen is nothing


def _lrs_text(lines: list[str]) -> str | None:
    """What the field `Text:` holds, on one line; None where the file does not begin with fields."""
    texts: list[str] | None = None
    field = ""
    for line in lines:
        found = _LRS_FIELD.match(line)
        if _LRS_TABLE.match(line) or not (found or field):
            break
        field, said = (found[1].casefold(), found[2]) if found else (field, line)
        if field == "text":
            texts = [*(texts or []), said]
    return None if texts is None else " ".join(" ".join(texts).split())


def _lrs_words(lines: list[str]) -> WordTimes | None:
    """The table below `WORD START END ...`, None where there is none or it cannot be read."""
    words: list[tuple[str, float, float]] = []
    inside = False
    for line in lines:
        fields = line.split()
        if not inside:
            inside = [name.casefold() for name in fields[:3]] == ["word", "start", "end"]
        elif len(fields) >= 3:
            try:
                words.append((fields[0], float(fields[1]), float(fields[2])))
            except ValueError:
                return None
        elif fields:
            return None
    return tuple(words) or None
