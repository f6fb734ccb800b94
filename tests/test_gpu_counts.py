"""Launches and barriers of a step on a GPU, counted in the emulation, within the committed ones."""

import json
import os

import pytest
import torch

import treefilter as tf

pytest.importorskip("matplotlib")
pytest.importorskip("skimage")
from gpu import counts
from gpu.cases import CASES
from gpu.peak import LiveBytes
from report import RESULTS

from treefilter._native import _C

COMMITTED = json.loads((RESULTS / counts.JSON).read_text(encoding="utf-8"))
SHARED = os.environ.get("TREEFILTER_EMULATION_SHARED", "232448")


def test_the_page_is_that_of_the_counts():
    before = json.loads((RESULTS / counts.BEFORE).read_text(encoding="utf-8"))
    page = counts.page(COMMITTED, before)
    assert (RESULTS / counts.PAGE).read_text(encoding="utf-8") == page


def test_a_step_of_the_loss_needs_little_more_than_its_inputs_and_gradients():
    peaks = COMMITTED[counts.PEAK]
    assert len(peaks) == 2
    assert all(needed < most < 1.5 * needed for needed, most in peaks.values())


def test_the_work_of_one_thread_is_bounded():
    """A hub of a million neighbours, a chain as long as the image: none of it for one thread."""
    trees = COMMITTED[counts.ONE_THREAD]
    assert set(trees) == {"star", "ramp", "constant"}
    assert all(0 < max(kernels.values()) < 2000 for kernels in trees.values())


@pytest.mark.skipif(not _C.emulated, reason="workspaces are the emulation's")
def test_live_bytes_are_those_of_the_tensors():
    kept = torch.zeros(100)
    with LiveBytes(kept) as live:
        freed = kept + 1
        kept.view(10, 10)
        del freed
        more = torch.cat([kept, kept])
    assert (live.bytes, live.most) == (1200, 1200)
    del more
    assert live.bytes == 400


@pytest.mark.parametrize("title", [title for title in COMMITTED if "features; forward" in title])
def test_a_step_of_the_loss_has_few_launches(title):
    assert counts.totals(COMMITTED[title])[0] <= counts.BUDGET


@pytest.mark.skipif(not _C.emulated, reason="launches are of the emulation")
def test_the_loss_itself_has_few_launches():
    """Both of its levels' trees are made in one call; the cases above do the same by hand."""
    logits, embed = torch.randn(2, 2, 4, 24, 24).requires_grad_().unbind()
    _C.take_counts()
    loss = tf.losses.tree_energy(
        logits, torch.rand(2, 3, 24, 24), torch.full((2, 24, 24), -1), embed
    )
    loss.backward()
    launches = {name: each[0] for name, each in _C.take_counts().items()}
    assert launches["plan"] == 1
    assert sum(launches.values()) <= counts.BUDGET


@pytest.mark.skipif(not _C.emulated or SHARED != "232448", reason="counts are of the emulation")
@pytest.mark.parametrize("case", [case for case in CASES if case.name == "TEL 128² B=4"])
def test_no_more_than_the_committed_counts(case):
    counted = counts.count(case)
    assert counted.keys() == COMMITTED[case.title].keys()
    for name, most in COMMITTED[case.title].items():
        assert all(a <= b for a, b in zip(counted[name], most, strict=True)), (name, counted[name])
