"""The CUDA back end measured and checked on a GPU.

``measure`` is the benchmark and ``report`` its page; ``check`` is the drill, which tests,
sanitizes, measures and profiles everything in one run. They are run from the folder ``benchmarks``:
from the repository's root, ``treefilter`` would be the folder of the sources.
"""
