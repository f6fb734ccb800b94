"""Segmentation learnt from points, scribbles and blocks with the Tree Energy Loss.

The packages in order, each of which imports only from those before it: ``runtime``, ``config``,
``data``, ``networks``, ``losses``, ``evaluation``, ``training``, ``report``, ``paper``,
``commands``. ``cli`` is the command ``tel``, ``presets`` has configurations by name.

Liang, Z., Wang, T., Zhang, X., Sun, J., Shen, J.: Tree Energy Loss: Towards Sparsely Annotated
Semantic Segmentation. CVPR 2022.
"""

from tel_segmentation.runtime import (
    torchvision_ops as torchvision_ops,  # before anything imports torchvision
)
