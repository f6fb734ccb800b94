"""Segmentation learnt from points, scribbles and blocks with the Tree Energy Loss.

The flow is the list of files: data (``scenes``, ``folder``, ``annotate``, ``augment``, ``data``),
``model``, ``losses``, ``engine``, ``evaluate``, ``report``; ``cli`` is the command ``tel``.

Liang, Z., Wang, T., Zhang, X., Sun, J., Shen, J.: Tree Energy Loss: Towards Sparsely Annotated
Semantic Segmentation. CVPR 2022.
"""

from tel_segmentation import (
    torchvision_ops as torchvision_ops,  # before anything imports torchvision
)
