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
from arguments import Draw
from checks import WrongError, check_like_reference, check_property, has_reference, plain
from values import Call

import treefilter as tf

KINDS = ("valid", "nearly valid", "hostile")
OUR_ERRORS = (ValueError, TypeError, IndexError, RuntimeError)
FUNCTIONS = [
    *tf.reference.__all__, "grid", "graph", "Graph", "Tree", r"Tree\.\w+", r"Graph\.\w+",
    "Dendrogram", r"Dendrogram\.\w+", "random_tree", "tree_energy", *tf.nn.__all__,
    *("mst_forward", "rst_forward", "bfs_forward", "refine_forward"),
]  # fmt: skip
MESSAGE = re.compile(rf"({'|'.join(FUNCTIONS)}): .*\bmust\b.*", re.DOTALL)
# What Python itself says of a call that does not fit the signature.
SIGNATURE = re.compile(r"[\w.]+\(\) (got|takes|missing) .*argument.*", re.DOTALL)


def function_of(call: Call) -> Any:
    found: Any = tf
    for part in call.name.split("."):
        found = getattr(found, part)
    if call.name.startswith("nn."):
        return lambda *x, **keywords: found(**keywords)(*x)
    return found.fget if isinstance(found, property) else found


def perform(call: Call, valid: bool) -> str:
    """Calls it. Returns "result" or the class of its error; raises what should not have been."""
    before = [v.clone() if plain(v) else None for v in call.arguments]
    try:
        result = function_of(call)(*call.arguments, **call.keywords)
    except OUR_ERRORS as error:
        if valid:
            raise
        if not MESSAGE.fullmatch(str(error)) and not SIGNATURE.fullmatch(str(error)):
            raise
        return type(error).__name__
    if call.like_reference or has_reference(call):
        check_like_reference(call, result)
    elif valid:
        check_property(call, result)
    for value, old in zip(call.arguments, before, strict=True):
        if old is not None and not torch.equal(value.nan_to_num(), old.nan_to_num()):
            raise WrongError("an argument was modified")
    return "result"


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
            outcomes[kind, perform(call, kind == "valid")] += 1
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
