"""The registers of every CUDA kernel, compared with the committed budget.

    make test-cuda-build            # builds for one architecture and compares
    make test-cuda-build WRITE=1    # builds and writes tests/ptxas_budget.json anew

Reads the compiler's report (-Xptxas -v) from the log of a build. No kernel may spill registers or
use a stack or static shared memory. Registers are limited per kernel family and data type.

A *family* is a kernel's name without namespaces, launch bound, data types, Boolean and enum
parameters and bit masks. The first data type of a name is that of the stored elements; kernels
without one have the type `any`. So `block_kernel<128, RowBlock<FilterRow<Half, float, true, 3>,
false> >` belongs to the family `block_kernel<RowBlock<FilterRow<3>>>` and the type `Half`.

tests/ptxas_budget.json has a line per family with the registers of each type: those of the kernel
that uses most. More registers, a family or a type that is not in the file, and one that no kernel
has any more, are failures. After a wanted change or a renaming, WRITE=1 accepts what the build has.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

BUDGET = Path(__file__).with_suffix(".json")
Registers = dict[str, dict[str, int]]  # by family and type

ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?\n"
    r"(?:.*\n)*?\s*(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores,"
    r" (?P<loads>\d+) bytes spill loads\n"
    r".*?Used (?P<registers>\d+) registers(?P<rest>.*)\n"
)
SHARED = re.compile(r"(\d+) bytes smem")
NAMESPACE = re.compile(r"(?:\(anonymous namespace\)|\b[a-z]\w*)::")  # classes are capitalised
TYPE = re.compile(r"\b(?:BFloat16|Half|float|double|bool|(?:unsigned )?(?:char|short|int|long))\b")
# What stands alone between the brackets and commas of a template and does not count.
VARIANT = re.compile(rf"(?<=[<,]) ?(?:{TYPE.pattern}|true|false|\(\w+\)\d+|\d+u?l)(?=[,>])")
LAUNCH_BOUND = re.compile(r"^(\w+<)\d+(?=[,>])")


def family(name: str) -> tuple[str, str]:
    """The family and the data type of a kernel, from its demangled name.

    >>> family("block_kernel<128, RowBlock<cuda::FilterRow<float, float, true, 3>, true> >")
    ('block_kernel<RowBlock<FilterRow<3>>>', 'float')
    >>> family("flat_kernel<treefilter::(anonymous namespace)::PrefixSum::Reduce>")
    ('flat_kernel<PrefixSum::Reduce>', 'any')
    """
    short = NAMESPACE.sub("", name)
    found = TYPE.search(short)
    kept = LAUNCH_BOUND.sub(r"\1", VARIANT.sub("", short)).replace(" ", "")
    kept = re.sub(r",+(?=[,>])", "", re.sub(r"<,+", "<", kept))
    while "<>" in kept:
        kept = kept.replace("<>", "")
    return kept, found[0] if found else "any"


def read_report(report: str) -> tuple[Registers, list[str], int]:
    """A compiler's report: registers, faults whatever the budget is, and the number of kernels."""
    found = list(ENTRY.finditer(report))
    mangled = "\n".join(match["name"] for match in found)
    names = subprocess.run(
        ["c++filt", "-p"], input=mangled, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    used: Registers = {}
    faults = []
    if (compiled := report.count("Compiling entry function")) != len(found):
        faults.append(f"{compiled} kernels were compiled, the report of {len(found)} can be read")
    for name, match in zip(names, found, strict=True):
        kernels, kind = family(name)
        types = used.setdefault(kernels, {})
        types[kind] = max(types.get(kind, 0), int(match["registers"]))
        shared = SHARED.search(match["rest"])
        forbidden = {
            "spills": int(match["stores"]) + int(match["loads"]),
            "stack": int(match["stack"]),
            "static shared memory": int(shared[1]) if shared else 0,
        }
        faults += [f"{name}: {what}: {n} bytes, must be 0" for what, n in forbidden.items() if n]
    return used, faults, len(set(names))


def differences(used: Registers, budget: Registers) -> list[str]:
    """Where registers exceed the budget, and what only one of the two has; a line each."""
    lines = []
    for name in sorted(used.keys() | budget.keys()):
        types, allowed = used.get(name, {}), budget.get(name, {})
        for kind in sorted(types.keys() | allowed.keys()):
            row = f"{name}, {kind}"
            if kind not in allowed:
                lines.append(f"{row}: {types[kind]} registers, not in the budget")
            elif kind not in types:
                lines.append(f"{row}: in the budget, but not in the build")
            elif types[kind] > allowed[kind]:
                lines.append(f"{row}: {types[kind]} registers, budget {allowed[kind]}")
    return lines


def as_json(used: Registers) -> str:
    """The budget as a file: a line per family."""
    rows = (f"{json.dumps(k)}: {json.dumps(used[k], sort_keys=True)}" for k in sorted(used))
    return "{\n" + ",\n".join(rows) + "\n}\n"


def main(arguments: list[str] | None = None) -> int:
    """Compares or writes: 0 if all is within the budget, 1 if not, 2 if the log has no report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("log", type=Path, help="of a build from scratch with -Xptxas -v")
    parser.add_argument("--write", action="store_true", help="accept the registers of this build")
    parser.add_argument("--budget", type=Path, default=BUDGET, help="the file of the budget")
    options = parser.parse_args(arguments)
    used, faults, kernels = read_report(options.log.read_text(encoding="utf-8", errors="replace"))
    if not used:
        print(f"{options.log} has no report of a kernel")
        return 2
    if options.write and not faults:
        options.budget.write_text(as_json(used), encoding="utf-8")
        print(f"{options.budget}: {len(used)} families of {kernels} kernels")
        return 0
    budget = json.loads(options.budget.read_text(encoding="utf-8")) if not options.write else used
    faults += differences(used, budget)
    print("\n".join(faults) or f"{kernels} kernels, {len(used)} families: all within the budget")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
