"""What is measured on a GPU: the cases, and the stages of each."""

from dataclasses import dataclass

IMAGE, FEATURES = "image", "features"
KINDS = ("ramp", "snake")
"""Guides that are weights already, of inputs.weights."""
EDGE_WEIGHT, MST, AFFINITY, FILTER = "edge_weight", "mst", "affinity", "filter"
FILTER_BACKWARD, GUIDE_BACKWARD = "filter, backward", "affinity and edge_weight, backward"
ONE_TREE = "mst, of one guide"
DISTANCE, TRANSFORM = "distance", "distance_transform"
STEP = "whole step"


@dataclass(frozen=True)
class Case:
    """A step of the tree energy loss, or a part of one.

    Each guide makes a tree and its affinities; x goes through the filter of each in turn.
    """

    name: str
    batch: int
    channels: int  # of x
    shape: tuple[int, int]
    guides: tuple[str, ...]
    width: int = 256  # channels of the guide "features"
    per_channel: bool = False  # an affinity for each channel, of a σ for each
    backward: bool = True
    scan: bool = False  # not the filter, but from the leaves to the root and back: of GrootV's kind
    drill: bool = False  # measured by `make gpu-check`, too

    @property
    def nodes(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def edges(self) -> int:
        height, width = self.shape
        return (height - 1) * width + height * (width - 1)

    @property
    def trees(self) -> int:
        return self.batch * len(self.guides)

    @property
    def loss(self) -> bool:
        """Whether it is a step of the tree energy loss, which the baseline is about."""
        return self.backward and set(self.guides) == {IMAGE, FEATURES} and not self.per_channel

    @property
    def groups(self) -> int:
        return self.channels if self.per_channel else 1

    @property
    def title(self) -> str:
        guides = " and ".join(
            f"{self.width}-channel features" if guide == FEATURES else guide
            for guide in self.guides
        )
        affinities = ", an affinity per channel" if self.per_channel else ""
        affinities += ", to the root and back" if self.scan else ""
        passes = "forward and backward" if self.backward else "forward"
        height, width = self.shape
        shape = f"{height}²" if height == width else f"{height}×{width}"
        return f"{shape}, C={self.channels}, B={self.batch}: {guides}{affinities}; {passes}"

    def guide_channels(self, guide: str) -> int:
        return self.width if guide == FEATURES else 3

    @property
    def stages(self) -> list[str]:
        """In the order of the pipeline, the whole step last."""
        measured = [guide for guide in self.guides if guide not in KINDS]
        found = [weight_of(guide) for guide in measured]
        found += [MST, ONE_TREE] if len(self.guides) > 1 else [MST]
        found += [AFFINITY, FILTER]
        if self.backward:
            found.append(FILTER_BACKWARD)
            found += [GUIDE_BACKWARD] if FEATURES in self.guides else []
        return [*found, DISTANCE, TRANSFORM, *([STEP] if measured else [])]


def weight_of(guide: str) -> str:
    return f"{EDGE_WEIGHT}, {guide}"


BOTH = (IMAGE, FEATURES)
CASES = (
    Case("TEL 128² B=4", 4, 21, (128, 128), BOTH, drill=True),
    Case("TEL 128² B=16", 16, 21, (128, 128), BOTH, drill=True),
    Case("TEL 256×128 B=4", 4, 19, (256, 128), BOTH),
    Case("TEL 512² B=4", 4, 21, (512, 512), BOTH),
    Case("1024×2048", 1, 19, (1024, 2048), (IMAGE,), backward=False, drill=True),
    Case("1024×2048 ramp", 1, 19, (1024, 2048), ("ramp",), backward=False),
    Case("1024×2048 snake", 1, 19, (1024, 2048), ("snake",), backward=False),
    Case(
        "per channel 56² B=64", 64, 192, (56, 56), (FEATURES,), width=192, per_channel=True,
        drill=True,
    ),
    Case(
        "scan 56² B=64", 64, 192, (56, 56), (FEATURES,), width=192, per_channel=True, scan=True,
        drill=True,
    ),
    Case("4096²", 1, 1, (4096, 4096), (IMAGE,), backward=False),
)  # fmt: skip
DRY_CASES = (
    Case("dry, both", 2, 3, (9, 7), BOTH, width=5, drill=True),
    Case("dry, per channel", 2, 4, (6, 6), (FEATURES,), width=4, per_channel=True, drill=True),
    Case("dry, scan", 2, 4, (6, 6), (FEATURES,), width=4, per_channel=True, scan=True, drill=True),
    Case("dry, forward", 1, 2, (8, 11), (IMAGE,), backward=False, drill=True),
    Case("dry, snake", 1, 2, (8, 11), ("snake",), backward=False),
)
