"""The tree energy loss.

    L = 1/|Ω_U| Σ_{i ∈ Ω_U} δ(P_i, Ỹ_i),   Ỹ = F(F(P, A_low), A_high)

P is the softmax of a network's logits, Ω_U the set of pixels without a label. The soft pseudo label
Ỹ is P filtered along two minimum spanning trees: first that of the image's colours (low level, the
affinity of an edge is exp(−ω/σ)), then that of an embedding (high level, exp(−ω)). The trees have
no gradient; the affinities have one.
"""

from .difference import difference
from .pseudo_labels import TreeAffinity, pseudo_labels, tree_affinity
from .region import unlabelled_region
from .tree_energy import tree_energy

__all__ = [
    "TreeAffinity",
    "difference",
    "pseudo_labels",
    "tree_affinity",
    "tree_energy",
    "unlabelled_region",
]
