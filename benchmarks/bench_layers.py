"""Layers of the field, forward and backward; the cases and contenders are in layer_cases.py."""

import layer_cases as layers
import pytest
from race import Record


@pytest.mark.parametrize("title", layers.CASES)
def test_layers(race, title):
    function, sizes, _ = layers.CASES[title]
    record = Record("layers", title, "x".join(map(str, sizes)), 1)
    race(record, function(*sizes), layers.verify)


@pytest.mark.parametrize("title", layers.CASES)
def test_small_layers_agree(title):
    """Every contender at a size for tests, without timing."""
    function, _, small = layers.CASES[title]
    results = {name: call() for name, call in function(*small).items()}
    layers.verify(results)
