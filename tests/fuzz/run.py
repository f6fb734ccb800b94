"""Calls every public function with generated arguments, in one process.

    python tests/fuzz/run.py --calls 5000 --seed 7      # or --seconds 600
    python tests/fuzz/run.py --seed 7 --only 1234       # one call again, with its arguments

A call must give what ``treefilter.reference`` gives. One that is not valid may instead raise an
error of this library: ValueError, TypeError, IndexError or RuntimeError with the message *function:
argument must be what was expected, got what was given*. A crash ends the process; which call it was
is then in the file of ``--progress``. A call that takes longer than a minute is one that hangs.
"""

from __future__ import annotations

import argparse
import faulthandler
import re
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from arguments import Call, Draw

import treefilter as tf

KINDS = ("valid", "nearly valid", "hostile")
OUR_ERRORS = (ValueError, TypeError, IndexError, RuntimeError)
FUNCTIONS = [
    *tf.reference.__all__, "grid", "graph", "Graph", "Tree", r"Tree\.\w+", r"Graph\.\w+",
    "Dendrogram", "TreeFilter2d",
]  # fmt: skip
MESSAGE = re.compile(rf"({'|'.join(FUNCTIONS)}): .*\bmust\b.*", re.DOTALL)
# What Python itself says of a call that does not fit the signature.
SIGNATURE = re.compile(r"[\w.]+\(\) (got|takes|missing) .*argument.*", re.DOTALL)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}


class WrongError(Exception):
    """What a call must not do."""


def function_of(call: Call) -> Any:
    if call.name == "nn.TreeFilter2d":
        return lambda *x, **keywords: tf.nn.TreeFilter2d(**keywords)(*x)
    found: Any = tf
    for part in call.name.split("."):
        found = getattr(found, part)
    return found


def tensors_of(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, tf.Tree):
        return [result.parent, result.edge]  # the order need not be the same
    if isinstance(result, tf.Dendrogram):
        return [result.parent, result.edge]
    return [tensor for part in result for tensor in tensors_of(part)]


def check_like_reference(call: Call, result: Any) -> None:
    """Compares with the reference in float64, at the precision of the result's type."""
    arguments = [exact(value) for value in call.arguments]
    keywords = {name: exact(value) for name, value in call.keywords.items()}
    in_its_type = ("edge_weight", "mst", "altitude")  # which are defined in the type they get
    precise = call.name not in in_its_type
    given = (arguments, keywords) if precise else (call.arguments, call.keywords)
    expected = getattr(tf.reference, call.name)(*given[0], **given[1])
    for got, right in zip(tensors_of(result), tensors_of(expected), strict=True):
        right = right.to(got.dtype)
        if got.shape != right.shape:
            raise WrongError(f"shape {tuple(got.shape)}, right is {tuple(right.shape)}")
        if not got.is_floating_point():
            if not torch.equal(got, right):
                raise WrongError(f"{got.tolist()}, right is {right.tolist()}")
            continue
        tolerance = TOLERANCE[got.dtype if got.dtype != torch.float64 else least_precise(call)]
        scale = right[right.isfinite()].abs().max().item() if right.isfinite().any() else 0.0
        limits = torch.finfo(got.dtype)
        absolute = tolerance * min(1.0, scale) + 4 * limits.tiny * limits.eps  # subnormal numbers
        torch.testing.assert_close(
            got.double(), right.double(), rtol=tolerance, atol=absolute, equal_nan=True
        )


def exact(value: Any) -> Any:
    """The argument in float64, so that the reference rounds nothing."""
    real = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.double() if real else value


def least_precise(call: Call) -> torch.dtype:
    types = [v.dtype for v in call.arguments if isinstance(v, torch.Tensor)]
    floats = [t for t in types if t in TOLERANCE]
    return max(floats, key=TOLERANCE.__getitem__, default=torch.float64)


def perform(call: Call) -> str:
    """Calls it. Returns "result" or the class of its error; raises what should not have been."""
    before = [v.clone() if plain(v) else None for v in call.arguments]
    try:
        result = function_of(call)(*call.arguments, **call.keywords)
    except OUR_ERRORS as error:
        if call.like_reference:
            raise
        if not MESSAGE.fullmatch(str(error)) and not SIGNATURE.fullmatch(str(error)):
            raise
        return type(error).__name__
    if call.like_reference or has_reference(call):
        check_like_reference(call, result)
    for value, old in zip(call.arguments, before, strict=True):
        if old is not None and not torch.equal(value.nan_to_num(), old.nan_to_num()):
            raise WrongError("an argument was modified")
    return "result"


def has_reference(call: Call) -> bool:
    """Whether a call that need not work, but did, must have given what the reference gives."""
    if call.name not in tf.reference.__all__:
        return False
    for value in [*call.arguments, *call.keywords.values()]:
        if isinstance(value, torch.Tensor) and value.is_meta:
            return False  # there are no values
        if isinstance(value, tf.Tree) and not is_tree(value):
            return False
        if isinstance(value, tf.Dendrogram) and value.parent.is_meta:
            return False
    if call.name in ("filter", "leaf_to_root", "root_to_leaf"):
        x, _, a = call.arguments
        # 0 · NaN is 0 there, and beyond 1 digits are lost (both said in the docstring).
        return bool(x.isfinite().all() and (a >= 0).all() and (a <= 1).all())
    return True


def is_tree(tree: tf.Tree) -> bool:
    """A tree whose values were changed by hand may be none: then results mean nothing."""
    try:
        again = tf.Tree.from_parents(tree.parent, tree.edge)
    except ValueError:
        return False
    place, placed = tree.order.argsort(1), tree.order.sort(1).values
    below = (place < place.gather(1, tree.parent.long())) | tree.roots
    return torch.equal(placed, again.order.sort(1).values) and bool(below.all())


def plain(value: Any) -> bool:
    """Whether it is a tensor that can be compared."""
    if type(value) is not torch.Tensor or value.is_nested or value.is_complex():
        return False
    return value.layout is torch.strided and value.device.type == "cpu"


def draw(seed: int, number: int) -> tuple[str, Call]:
    generator = Draw(f"{seed}:{number}")
    kind = generator.random.choice(KINDS)
    return kind, getattr(generator, kind.replace(" ", "_"))()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calls", type=int, default=None, help="how many")
    parser.add_argument("--seconds", type=float, default=10, help="for how long, without --calls")
    parser.add_argument("--only", type=int, default=None, help="the number of one call")
    parser.add_argument(
        "--progress", type=Path, default=None, help="a file for the number of the current call"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    faulthandler.enable()
    begin, number, failed = time.monotonic(), 0, 0
    outcomes: Counter[tuple[str, str]] = Counter()
    while True:
        if options.only is not None:
            number = options.only
        elif number == options.calls or (
            options.calls is None and time.monotonic() - begin > options.seconds
        ):
            break
        if options.progress is not None:
            options.progress.write_text(str(number))
        faulthandler.dump_traceback_later(60, exit=True)
        kind, call = draw(options.seed, number)
        if options.only is not None:
            print(f"{kind}: {call}", file=sys.stderr)
        try:
            outcomes[kind, perform(call)] += 1
        except Exception:
            failed += 1
            print(f"--seed {options.seed} --only {number} ({kind} {call.name}):", file=sys.stderr)
            traceback.print_exc(limit=-3)
        number += 1
        if options.only is not None:
            break
    faulthandler.cancel_dump_traceback_later()
    print(f"{sum(outcomes.values())} calls as they should be, {failed} not", file=sys.stderr)
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:14} {outcome:12} {count}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
