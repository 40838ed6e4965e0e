"""From a checkpoint that a user brings to a model in the user's folder."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.imported.inference import (
    Shape,
    Shapes,
    compare,
    infer_language_model,
    infer_network,
    read_facts,
)
from avsr.imported.reading import checkpoint_file, read_tensors
from avsr.imported.store import Description, check_name, install, read_trained
from avsr.imported.units import pieces_of

GENERIC = ("model", "checkpoint", "last", "pytorch_model")  # then its folder says more


def import_checkpoint(
    file: str | Path,
    units: str | Path | None = None,
    lm: str | Path | None = None,
    name: str | None = None,
    taken: Collection[str] = (),
) -> tuple[str, Description]:
    """Reads a checkpoint, its tokens and its language model, checks them, and installs them.

    Args:
        file: the checkpoint, see reading.read_tensors.
        units: the list of its tokens; found beside it where None is given.
        lm: a checkpoint of a language model over the same tokens.
        name: what to call the model; after its file where None is given.
        taken: names of models of other kinds.

    Returns:
        The model's name and what it is.

    Raises:
        AvsrError: anything is not as it must be; then nothing is written.
    """
    path = checkpoint_file(file)
    name = check_name(name_after(path) if name is None else name, taken)
    weights = read_tensors(path)
    shapes = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    trained = read_trained(path)
    if trained is None:
        description = _described(path, shapes, units)
    else:
        description = trained[0]
        compare(Shapes(path, shapes, {}), description.network)
    network = description.network
    language = language_config = None
    if lm is not None:
        lm = checkpoint_file(lm)
        language = read_tensors(lm)
        of_lm = {key: tuple(tensor.shape) for key, tensor in language.items()}
        language_config = infer_language_model(Shapes(lm, of_lm, read_facts(lm)))
        if language_config.vocabulary != network.vocabulary:
            raise AvsrError(
                f"{lm}: a language model of {language_config.vocabulary} tokens, the recogniser "
                f"has {network.vocabulary}: give one that was trained on the same units"
            )
    description = description.model_copy(
        update={"language_model": language_config, "source": path.name}
    )
    install(name, description, weights, language)
    return name, description


def _described(path: Path, shapes: Mapping[str, Shape], units: str | Path | None) -> Description:
    """What a checkpoint of others is."""
    facts = read_facts(path)
    network = infer_network(Shapes(path, shapes, facts))
    pieces, scores = pieces_of(path, network.vocabulary, units, facts)
    return Description(network=network, pieces=pieces, piece_scores=scores)


def name_after(path: Path) -> str:
    """A name for a model from its file's, or its folder's where the file is called model.pth."""
    path = path.absolute()
    stem = path.stem
    if stem in GENERIC and path.parent.name:
        stem = path.parent.name
    return re.sub(r"[^A-Za-z0-9._]+", "-", stem).strip("-._")[:60].lower()
