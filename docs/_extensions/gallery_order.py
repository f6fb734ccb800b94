"""The order of the gallery's scripts inside of their sections."""

from __future__ import annotations

ORDER = (
    *("smoothing", "detail", "scribbles", "stereo", "colorization", "depth", "tiles"),
    *("zones", "minimax", "watershed", "single_linkage"),
    *("volume", "superpixels", "points"),
    *("learned_guide", "tree_scan", "topology"),
)


class Order:
    """Sphinx-gallery's key: made for a folder, called for each file."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, name: str) -> int:
        """A script that is not named above is an error."""
        return ORDER.index(name.removesuffix(".py"))

    def __repr__(self) -> str:
        return "Order"
