"""Makes torchvision's CUDA build importable with a CPU build of torch.

The torchvision on PyPI is linked to CUDA. With a CPU build of torch its native library does not
load, and its import fails because two operators are missing (torchvision issues 9077 and 9085).
This package does not call them, so declaring their names is enough.
"""

import torch

OPERATORS = ("nms", "qnms")


def _declare() -> torch.library.Library | None:
    if torch.version.cuda is not None:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


_library = _declare()  # the operators exist as long as this reference
