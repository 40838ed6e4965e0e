"""What a model writes with: the characters of the training texts, or sub-word pieces learnt from
them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.base.inputs import install
from avsr.model.tokenizer import BLANK, Tokenizer
from avsr.preprocessing.streaming import ShardFolder
from avsr.preprocessing.text import canonical, spelt
from avsr.training.config import TokensConfig

LONGEST_TEXT = 100_000  # bytes; SentencePiece leaves longer ones out


def vocabulary(
    data: Sequence[str | Path], split: str, config: TokensConfig | None = None
) -> Tokenizer:
    """The tokens of the training texts.

    Args:
        data: prepared folders.
        split: that is trained on.
        config: which tokens; characters by default.

    Raises:
        AvsrError: there are no texts; names the splits that have some. Or pieces cannot be learnt
            from these.
    """
    config = config or TokensConfig()
    texts = (spelt(text, config.language) for text in training_texts(data, split))
    if config.kind == "pieces":
        return learnt_pieces(list(texts), config.size)
    return Tokenizer.from_texts(texts)


def training_texts(data: Sequence[str | Path], split: str) -> Iterator[str]:
    """What is said in the clips of a split, one by one.

    Raises:
        AvsrError: nothing, which is known at the end; names the splits that have texts.
    """
    counts: Counter[str] = Counter()
    for folder in data:
        for entry in ShardFolder.of(folder).index()[1]:
            if canonical(entry.text or ""):
                own = entry.split or "train"
                counts[own] += 1
                if own == split:
                    yield entry.text or ""
    if split in counts:
        return
    others = ", ".join(f"{name} ({counts[name]})" for name in sorted(counts))
    do = (
        f"set data.train_split to one of {others}"
        if others
        else "prepare recordings with their texts"
    )
    raise AvsrError(f"no clip of split {split!r} with a text in {', '.join(map(str, data))}; {do}")


def learnt_pieces(texts: Sequence[str], size: int) -> Tokenizer:
    """Sub-word pieces of a unigram model (Kudo 2018, Subword Regularization), as SentencePiece
    learns them; every character of the texts is one.

    Args:
        texts: as they are to be written; the same ones always give the same pieces.
        size: how many pieces at most, the blank among them; few texts give fewer.

    Raises:
        AvsrError: SentencePiece is not installed, or there are more characters than pieces.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise AvsrError(
            f"tokens.kind = pieces needs the package sentencepiece: "
            f"{install('sentencepiece')}; or set tokens.kind=characters"
        ) from error
    characters = {char for text in texts for char in text}
    if len(characters) + 2 > size:
        raise AvsrError(
            f"tokens.size = {size}: the texts have {len(characters)} characters, and each is a "
            f"piece: set tokens.size={4 * len(characters)} or more, or tokens.kind=characters"
        )
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",  # the texts are normalised already
        max_sentence_length=LONGEST_TEXT,
        unk_id=0,  # where our blank is
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,  # several add up in another order
        minloglevel=2,
    )
    learnt = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(1, learnt.vocab_size())
    tokens = (BLANK, *(learnt.id_to_piece(id) for id in ids))
    scores = (0.0, *(learnt.get_score(id) for id in ids))
    return Tokenizer.of(tokens, scores)
