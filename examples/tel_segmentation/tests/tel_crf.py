"""A stand-in for the library of dense CRFs, which is not installed for the tests."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def install(
    monkeypatch: pytest.MonkeyPatch, inference: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Puts a stand-in for pydensecrf into a test; returns the arguments that it gets.

    Args:
        monkeypatch: the test's fixture.
        inference: a function from energies (K, H · W) to probabilities.
    """
    calls: dict[str, Any] = {}

    class DenseCRF2D:
        def __init__(self, width: int, height: int, classes: int) -> None:
            calls["size"] = (width, height, classes)

        def setUnaryEnergy(self, energy: np.ndarray) -> None:
            calls["energy"] = energy

        def addPairwiseGaussian(self, **values: Any) -> None:
            calls["gaussian"] = values

        def addPairwiseBilateral(self, **values: Any) -> None:
            calls["bilateral"] = values

        def inference(self, iterations: int) -> np.ndarray:
            calls["iterations"] = iterations
            return inference(calls["energy"])

    library = types.ModuleType("pydensecrf.densecrf")
    library.DenseCRF2D = DenseCRF2D  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pydensecrf", types.ModuleType("pydensecrf"))
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", library)
    return calls
