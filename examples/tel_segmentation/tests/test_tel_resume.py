"""Runs that are stopped and resumed have the same bits as runs that are not."""

from __future__ import annotations

import os
import signal

import pytest
import tel_forks
import tel_runs
import torch
from torch import nn

from tel_segmentation import config
from tel_segmentation.networks.tiny import Tiny
from tel_segmentation.runtime import checkpoint
from tel_segmentation.runtime.run_folder import HISTORY
from tel_segmentation.training.tracking import read_history

if not hasattr(os, "fork"):
    pytest.skip("processes are forked", allow_module_level=True)


def same(one, other):
    """Whether two nested states have the same bits."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_run_with_dropout_that_is_stopped_has_the_same_bits(tmp_path, monkeypatch, optimizer):
    head = Tiny.head
    monkeypatch.setattr(Tiny, "head", lambda self, k: nn.Sequential(nn.Dropout(0.2), head(self, k)))

    def settings(name, **data):
        return tel_forks.begun(
            tel_runs.options(
                tmp_path / name,
                data=data,
                optimizer=config.Optimizer(name=optimizer, ema=0.9),
                accumulate=1 + (optimizer == "sgd"),
                iterations=8,
                eval_every=4,
            )
        )

    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)

    whole = settings("whole")
    assert tel_forks.resumed(whole).wait().status == 0
    for workers in (0, 2):
        parts = settings(f"parts{workers}", workers=workers)
        # Between two checkpoints; then after an iteration that would not have one.
        assert tel_forks.resumed(parts, at=3, act=killed).wait().status == -signal.SIGKILL
        status, text = tel_forks.resumed(parts, at=4, act=interrupted).wait()
        assert status == 130
        assert f"{parts.output}: resumed from iteration 2 of 8\n" in text
        assert "tel train: stopped after iteration 5 of 8; go on with --resume" in text
        status, text = tel_forks.resumed(parts).wait()
        assert status == 0
        assert f"{parts.output}: resumed from iteration 5 of 8\n" in text
        one, other = (checkpoint.load(run.output / "last.pt") for run in (whole, parts))
        for name in ("model", "ema", "optimizer", "best", "iteration"):
            assert same(one[name], other[name]), name
        one, other = (
            [line for line in read_history(run.output / HISTORY) if "evaluation" in line]
            for run in (whole, parts)
        )
        assert one == other
