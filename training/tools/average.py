"""The average of two checkpoints of one network.

The mean of a checkpoint and one trained on from it has what the second leg won, without all that it
lost:

    avsr average FIRST SECOND OUT --share 0.5

Wortsman et al. 2022, Robust fine-tuning of zero-shot models (WiSE-FT).
"""

from __future__ import annotations

from avsr.base.errors import AvsrError, UsageError
from avsr.model.network import AVSR
from avsr.model.resize import with_outputs


def average(first: AVSR, second: AVSR, share: float) -> AVSR:
    """The network whose every weight lies between those of two.

    Args:
        first: is left as it is.
        second: trained on from the first, perhaps with more outputs a frame: weights of separate
            runs do not fit.
        share: of the second, 0 to 1.

    Raises:
        UsageError: a share out of range.
        AvsrError: networks that differ in anything but their name.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share {share:g}: must be 0 (the first network) to 1 (the second)")
    if second.config.outputs_per_frame % first.config.outputs_per_frame == 0:
        first = with_outputs(first, second.config.outputs_per_frame)
    if first.config.model_copy(update={"name": second.config.name}) != second.config:
        raise AvsrError(
            "the two networks differ in size or vocabulary: average a checkpoint and one trained "
            "from it"
        )
    between = AVSR(second.config).eval()
    old, new = first.state_dict(), second.state_dict()
    # Counters, the only whole numbers, are the second's.
    mixed = {k: old[k].lerp(v, share) if v.is_floating_point() else v for k, v in new.items()}
    between.load_state_dict(mixed)
    return between
