"""The registers and memory of every CUDA kernel, compared with the committed budget.

    make test-cuda-build                  # compiles for one architecture and compares
    python tests/ptxas_budget.py LOG --write

Reads the compiler's report (-Xptxas -v) from a build's log and compares registers, shared memory,
stack and spills of each kernel with tests/ptxas_budget.json. More of anything, or a kernel that is
not in the file, is a failure: it shows where a change made a kernel slower. --write accepts what is
there.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

BUDGET = Path(__file__).with_suffix(".json")
Used = dict[str, dict[str, int]]

ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?\n"
    r"(?:.*\n)*?\s*(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores,"
    r" (?P<loads>\d+) bytes spill loads\n"
    r".*?Used (?P<registers>\d+) registers(?P<rest>.*)\n"
)
SHARED = re.compile(r"(\d+) bytes smem")


def kernels(report: str) -> Used:
    """What each kernel of a report uses, by its readable name."""
    found = list(ENTRY.finditer(report))
    mangled = "\n".join(match["name"] for match in found)
    names = subprocess.run(
        ["c++filt", "-p"], input=mangled, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    result: Used = {}
    for name, match in zip(names, found, strict=True):
        shared = SHARED.search(match["rest"])
        amounts = {
            "registers": int(match["registers"]),
            "shared": int(shared[1]) if shared else 0,
            "spills": int(match["stores"]) + int(match["loads"]),
            "stack": int(match["stack"]),
        }
        short = re.sub(r"treefilter::(cuda::)?|\(anonymous namespace\)::", "", name)
        earlier = result.setdefault(short, amounts)  # a template may be in several files
        result[short] = {what: max(amount, earlier[what]) for what, amount in amounts.items()}
    return result


def excesses(used: Used, budget: Used) -> list[str]:
    """What there is more of than the budget has, a line each."""
    lines = []
    for kernel, amounts in used.items():
        allowed = budget.get(kernel)
        if allowed is None:
            lines.append(f"{kernel}: not in the budget: {amounts}")
            continue
        lines += [
            f"{kernel}: {what} {amount}, budget {allowed[what]}"
            for what, amount in amounts.items()
            if amount > allowed[what]
        ]
    lines += [
        f"{kernel}: in the budget, but not in the build" for kernel in budget.keys() - used.keys()
    ]
    return lines


def main() -> int:
    """Compares or writes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("log", type=Path, help="of a build from scratch with -Xptxas -v")
    parser.add_argument("--write", action="store_true", help="accept what is there")
    arguments = parser.parse_args()
    used = kernels(arguments.log.read_text(encoding="utf-8", errors="replace"))
    if not used:
        print(f"{arguments.log} has no report of a kernel")
        return 2
    if spilling := [name for name, amounts in used.items() if amounts["spills"]]:
        print("\n".join(f"{name}: registers are spilled" for name in spilling))
        return 1
    if arguments.write:
        BUDGET.write_text(json.dumps(used, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    lines = excesses(used, json.loads(BUDGET.read_text(encoding="utf-8")))
    print("\n".join(lines) or f"{len(used)} kernels, all within the budget")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
