"""Lets torchvision's CUDA build be imported beside a CPU build of torch.

The registry's torchvision is linked to CUDA. Beside a CPU torch its native library does not load,
and its import stops at two operators that it expects there (torchvision issues 9077 and 9085).
Nothing here calls them: declaring their names is enough.
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


_library = _declare()  # the operators live as long as this reference
