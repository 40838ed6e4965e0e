"""The networks at full size, on PyTorch's meta device: names and shapes are those of the files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avsr.base.errors import AvsrError
from avsr.imported.inference import Shapes, infer_language_model, infer_network

DATA = Path(__file__).parent / "data"
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
Keys = dict[str, tuple[int, ...]]


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def repeated(name: str, times: int) -> list[str]:
    return [name.replace(".N.", f".{index}.") for index in range(times)]


def usr_keys() -> Keys:
    """keys_usr2.txt: NAME (SHAPE) xTIMES"""
    keys: Keys = {}
    for line in (DATA / "keys_usr2.txt").read_text().splitlines():
        name, shape, times = re.fullmatch(r"(\S+) (\(.*\)) x(\d+)", line).groups()
        for one in repeated(name, int(times)):
            keys[one] = numbers(shape)
    return keys


def auto_avsr_keys() -> dict[str, Keys]:
    """keys_vsrml.txt, section by section: NAME: weight[SHAPE] bias[SHAPE] or BN, then xTIMES"""
    found: dict[str, Keys] = {}
    keys: Keys = {}
    for line in (DATA / "keys_vsrml.txt").read_text().splitlines():
        if line.startswith("## "):
            keys = found.setdefault(line[3:].split(",")[0], {})
            continue
        name, rest = line.split(": ", 1)
        times = re.search(r" x(\d+)$", rest)
        for one in repeated(name, int(times[1]) if times else 1):
            if rest.startswith("BN"):
                keys |= {f"{one}.{part}": (int(rest.split()[1]),) for part in BATCH_NORM}
            for part, shape in re.findall(r"(\w+)\[([\d, ]+)\]", rest):
                keys[f"{one}.{part}"] = numbers(shape)
    encoder = {k.removeprefix("encoder."): v for k, v in found["a"].items() if "encoder." in k[:8]}
    found["av"] |= found["v"] | {f"aux_encoder.{name}": shape for name, shape in encoder.items()}
    return found


AUTO_AVSR = auto_avsr_keys()
COUNTS_M = {"v": 250.38, "a": 243.05, "av": 443.98}


def parameters_m(keys: Keys) -> float:
    total = 0
    for name, shape in keys.items():
        if "running_" not in name:
            size = 1
            for axis in shape:
                size *= axis
            total += size
    return total / 1e6


@pytest.mark.parametrize("short", COUNTS_M)
def test_auto_avsr(short: str):
    keys = AUTO_AVSR[short]
    config = infer_network(Shapes(Path("x.pth"), keys, {}))
    encoder = config.video or config.audio
    assert (encoder.width, encoder.heads, encoder.feed_forward, encoder.layers) == (
        768,
        12,
        3072,
        12,
    )
    assert (encoder.kernel, encoder.macaron, encoder.legacy_positions) == (31, True, False)
    assert (config.decoder.layers, config.decoder.heads, config.vocabulary) == (6, 12, 5049)
    assert config.modalities == ({"v": "video", "a": "audio", "av": "av"}[short],)
    assert (config.fusion_width, config.fusion_norm) == (
        (8192, "batch") if short == "av" else (0, "none")
    )
    assert parameters_m(keys) == pytest.approx(COUNTS_M[short], abs=0.01)


def test_language_model():
    config = infer_language_model(Shapes(Path("x.pth"), AUTO_AVSR["lm"], {}))
    assert (config.vocabulary, config.embedding, config.width) == (5049, 128, 512)
    assert (config.heads, config.feed_forward, config.layers) == (8, 2048, 16)


def test_usr():
    config = infer_network(Shapes(Path("x.pth"), without_counters(usr_keys()), {}))
    assert (config.encoder.width, config.encoder.heads, config.encoder.layers) == (768, 12, 12)
    assert (config.decoder.layers, config.vocabulary) == (6, 1049)
    assert config.modalities == ("av", "audio", "video")


def without_counters(keys: Keys) -> Keys:
    return {name: shape for name, shape in keys.items() if "num_batches_tracked" not in name}


@pytest.mark.parametrize("short", COUNTS_M)
def test_every_tensor_is_accounted_for(short: str):
    """Without any one of a sample of them, and with one more, the file is refused by its name."""
    keys = AUTO_AVSR[short]
    for name in list(keys)[:: len(keys) // 7]:
        others = {key: shape for key, shape in keys.items() if key != name}
        with pytest.raises(AvsrError, match=re.escape(name)):
            infer_network(Shapes(Path("x.pth"), others, {}))
    with pytest.raises(AvsrError, match=r"encoder\.extra"):
        infer_network(Shapes(Path("x.pth"), keys | {"encoder.extra": (3,)}, {}))
