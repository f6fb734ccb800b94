"""A baseline: how the public research code computes a step of the tree energy loss.

Reimplemented from its description, for ratios only; no line of it is taken from there. What is
described, and done here:

- The edges' weights go to the host, where one thread per image runs Borůvka's algorithm, and the
  trees come back: the stream waits (``host.cpp``).
- One block of 64 threads per image lists the neighbours of each vertex, then orders the vertices
  breadth first, in lockstep (``kernels.cu``).
- One block of 64 threads per image and channel runs a pass, in the same lockstep; 16 passes a step:
  features and ones up and down for each tree, again for the gradient in x, and twice more for the
  gradient in the affinities of the learnt tree.
- torch computes the distances of all grid edges, and those of the tree's edges once more from
  features that are gathered into the breadth-first order.

``step`` has the pipeline, ``launch`` the two ways to run the kernels: by NVRTC through CuPy, and,
for tests, compiled for the host with a real thread for each thread.
"""

from gpu.baseline.launch import MissingError
from gpu.baseline.step import steps

__all__ = ["MissingError", "steps"]
