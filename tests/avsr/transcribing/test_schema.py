"""The JSON Schema that ships describes the transcripts that are written, all of them."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from avsr.decoding.words import Word
from avsr.transcribing import schema, writers
from avsr.transcribing.transcript import Segment, Transcript

WORDS = [Word("bin", 0.04, 0.44, 0.9, 0.25, source="whisper"), Word("blue", 0.6, 1.2, 0, 1)]
SAID = [
    Transcript("empty.wav", "fake", 0.0, []),
    Transcript(
        "a.mp4",
        "fake",
        20.0,
        [
            Segment(0.04, 1.2, "bin blue", 0.5, None, 1.0, 0.5, WORDS, in_domain=False),
            Segment(2.0, 3.0, "words of others", 1.0, "Ann", 0.0, 1.0, []),
        ],
        ["no face found"],
        in_domain=True,
    ),
]
SHIPPED = json.loads(schema.SCHEMA_FILE.read_text(encoding="utf-8"))


def strict(body: Any) -> Any:
    """The schema, but no key may be added."""
    if isinstance(body, dict):
        body = {key: strict(value) for key, value in body.items()}
        return body | {"additionalProperties": False} if "properties" in body else body
    return [strict(item) for item in body] if isinstance(body, list) else body


def test_the_file_is_what_the_code_says():
    assert schema.SCHEMA_FILE.read_text(encoding="utf-8") == schema.rendered(), "run make schema"
    jsonschema.Draft202012Validator.check_schema(SHIPPED)


@pytest.mark.parametrize("said", SAID, ids=lambda said: said.file)
def test_what_is_written_follows_it_and_holds_nothing_else(said: Transcript):
    body = json.loads(writers.RENDERERS["json"](said, writers.PLAIN))
    jsonschema.validate(body, strict(SHIPPED))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("schema", 2),
        ("duration_s", "20"),
        ("segments", None),
        ("segments/0/confidence", 1.5),
        ("segments/0/words/0/start_s", -1),
        ("segments/1/speaker", 3),
    ],
)
def test_what_does_not_follow_it_is_found(where: str, value: object):
    body: Any = json.loads(writers.RENDERERS["json"](SAID[1], writers.PLAIN))
    *way, last = where.split("/")
    place = body
    for step in way:
        place = place[int(step) if step.isdecimal() else step]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, SHIPPED)


def test_each_key_is_described():
    for kind in [SHIPPED, *SHIPPED["$defs"].values()]:
        assert all("description" in entry for entry in kind["properties"].values())
