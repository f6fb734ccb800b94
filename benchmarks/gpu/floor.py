"""What a stage must move: the bytes that its bandwidth floor is made of."""

from gpu.cases import (
    AFFINITY,
    DISTANCE,
    EDGE_WEIGHT,
    FEATURES,
    FILTER,
    FILTER_BACKWARD,
    GUIDE_BACKWARD,
    MST,
    ONE_TREE,
    STEP,
    TRANSFORM,
    Case,
)
from treefilter._native import _C

FLOAT = INDEX = 4


def bytes_moved(case: Case, stage: str) -> int:
    """Every tensor that a stage is given, read once; every one that it returns, written once.

    What it keeps in between is not counted, nor is the loss; a step is the sum of its stages.
    """
    nodes, batch = case.nodes, case.batch
    x = batch * case.channels * nodes * FLOAT
    a = batch * case.groups * nodes * FLOAT  # of one tree a guide
    weight = batch * case.edges * FLOAT
    edge = batch * nodes * INDEX
    plan = batch * _C.plan_size(nodes) * INDEX
    count = len(case.guides)
    if stage.startswith(EDGE_WEIGHT + ", "):
        channels = case.guide_channels(stage.removeprefix(EDGE_WEIGHT + ", "))
        return batch * channels * nodes * FLOAT + weight
    features = batch * case.width * nodes * FLOAT
    learnt = 1 if FEATURES in case.guides else 0  # guides with a gradient
    if stage == STEP:
        parts = set(case.stages) - {ONE_TREE, DISTANCE, TRANSFORM, STEP}
        return sum(bytes_moved(case, part) for part in parts)
    return {
        MST: count * (weight + 3 * edge + plan),
        ONE_TREE: weight + 3 * edge + plan,
        AFFINITY: count * (weight + edge + a),
        FILTER: count * (2 * x + a + plan),
        # The gradient in, that in x out; where the affinity has one, x in, and its out.
        FILTER_BACKWARD: count * (2 * x + a + plan) + learnt * (x + a),
        # The gradient in the affinity, the affinity, the edge's number; features in, gradient out.
        GUIDE_BACKWARD: 2 * a + edge + 2 * features,
        DISTANCE: weight + edge + plan + batch * nodes * FLOAT,
        TRANSFORM: weight + edge + plan + batch * nodes * (1 + FLOAT + 8),
    }[stage]
