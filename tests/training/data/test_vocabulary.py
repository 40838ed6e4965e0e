"""From texts of other languages to tokens, a model, and error rates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy import make_clip

from avsr.base.errors import AvsrError
from avsr.eval.metrics.wer import cer, wer
from avsr.model import checkpoint
from avsr.preprocessing.text import spelt
from avsr.recognisers.ours import load
from avsr.training.config import TokensConfig, load_recipe
from avsr.training.data.vocabulary import learnt_pieces, vocabulary
from avsr.training.train import train

sentencepiece = pytest.importorskip("sentencepiece")

CORPORA = {
    "fr": [
        "C\u2019est l\u2019\u00e9t\u00e9.",
        "O\u00f9 est la gare ?",
        "L\u2019\u00c9t\u00e9 est l\u00e0 !",
    ],
    "de": [
        "Gr\u00f6\u00dfe der Stra\u00dfe.",
        "Die Stra\u00dfe ist gro\u00df!",
        "Der gro\u00dfe Tag, nicht?",
    ],
    "zh": [
        "\u4f60\u597d\uff0c\u4e16\u754c\u3002",
        "\u4eca\u5929 \u5929\u6c14 \u5f88\u597d\u3002",
        "\u4f60\u597d\u5417\uff1f\u5f88\u597d\uff01",
    ],
}
PLAIN = """
size = "grid-tiny"
log_every = 1000
val_every = 1000
save_every = 1000
[model]
dim = 32
heads = 2
video_width = 4
audio_width = 8
crop = 32
stream_layers = 1
cross_layers = 0
joint_layers = 1
dropout = 0
[data]
max_frames = 150
workers = 0
join = 0
[augment]
speed = 0
noise = 0
equalise = 0
codec = 0
spans = 0
unindicated = 0
voice = 0
wrong_lips = 0
out_of_sync = 0
mel_masks = 0
non_speech = 0
formants = 0
[loss]
streams_first = 0
contrastive = 0
distil = 0
[optim]
steps = 110
lr = 5e-3
warmup = 10
ema = 0.8
precision = "32-true"
"""


def test_a_word_is_parted_as_sentencepiece_does_it(tmp_path: Path) -> None:
    texts = [spelt(text, language) for language, own in CORPORA.items() for text in own]
    pieces = learnt_pieces(texts, 70)
    assert 40 < len(pieces) <= 70
    path = tmp_path / "pieces"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(path),
        vocab_size=70,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        num_threads=1,
        minloglevel=2,
    )
    theirs = sentencepiece.SentencePieceProcessor(model_file=f"{path}.model")
    for text in texts:
        assert [pieces.tokens[id] for id in pieces.encode(text)] == theirs.encode(
            text, out_type=str
        )
        assert pieces.decode(pieces.encode(text)) == text


def test_too_few_pieces_for_the_characters_are_told(corpus: Callable[..., Path]) -> None:
    with pytest.raises(AvsrError, match=r"tokens.size = 8: the texts have 14 characters"):
        vocabulary([corpus()], "train", TokensConfig(kind="pieces", size=8))
    with pytest.raises(AvsrError, match=r"tokens.language = 'xx': leave it empty, or choose among"):
        load_recipe("grid-tiny", ["tokens.language=xx"])


@pytest.mark.parametrize("language", CORPORA)
def test_from_texts_of_a_language_to_its_error_rates(
    language: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    texts = CORPORA[language]
    clips = [make_clip(i, text, frames=16) for i, text in enumerate(texts)]
    recipe = tmp_path / "plain.toml"
    recipe.write_text(PLAIN)
    more = ["tokens.kind=pieces", "tokens.size=40", f"tokens.language={language}"]
    if language == "fr":
        more += ["model.decoder_layers=1", "model.decoder_ff=32"]
    path = train(str(recipe), [corpus(clips)], tmp_path / "run", overrides=more, say=lambda _: None)
    # the file is all that is needed
    alone = tmp_path / "elsewhere.safetensors"
    path.rename(alone)
    config = checkpoint.load(alone)[0].config
    assert config.language == language
    assert len(config.piece_scores) == len(config.tokens) <= 40
    torch.manual_seed(0)
    said = [found.text for found in load(alone).recognise(clips)]
    assert wer(texts, said).rate < 0.5  # not trained to the end
    assert cer(texts, said).rate < 0.5
    if config.decoder_layers:
        jointly = [found.text for found in load(f"{alone}?beam=4").recognise(clips)]
        assert wer(texts, jointly).rate < 0.5
