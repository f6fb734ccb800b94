"""The budget of the CUDA kernels: what it counts as one family, and that every excess is found."""

import json

import ptxas_budget
import pytest


def filter_kernel(threads, types, weighted=1):
    """The mangled name of a kernel of the filter."""
    row = f"9FilterRowI{types}Lb{weighted}ELi3EEE"
    return f"_ZN10treefilter4cuda12block_kernelILi{threads}ENS0_8RowBlockINS0_{row}Lb1EEEEEvT0_"


KERNELS = {  # registers of two families, one of them with two types
    filter_kernel(128, "ff"): 72,
    filter_kernel(512, "ff", weighted=0): 64,
    filter_kernel(128, "NS_4HalfEf"): 56,
    "_ZN10treefilter4cuda11flat_kernelINS0_12_GLOBAL__N_111WriteRoundsEEEvT_": 26,
}
FILTER, ROUNDS = "block_kernel<RowBlock<FilterRow<3>>>", "flat_kernel<WriteRounds>"
BUDGET = {FILTER: {"Half": 56, "float": 72}, ROUNDS: {"any": 26}}


def log(kernels, stack=0, stores=0, loads=0, shared=""):
    """A build's log as ptxas 13.0 writes it; stack, spills and shared memory are the last's."""
    lines = ["[1/9] Building CUDA object filter.cu.o", "ptxas info    : 0 bytes gmem"]
    for name, registers in kernels.items():
        last = name == list(kernels)[-1]
        frame, out, back = (stack, stores, loads) if last else (0, 0, 0)
        lines += [
            f"ptxas info    : Compiling entry function '{name}' for 'sm_90'",
            f"ptxas info    : Function properties for {name}",
            f"    {frame} bytes stack frame, {out} bytes spill stores, {back} bytes spill loads",
            f"ptxas info    : Used {registers} registers, used 1 barriers{shared if last else ''},"
            " 400 bytes cmem[0]",
            "ptxas info    : Compile time = 31.113 ms",
        ]
    return "\n".join([*lines, "[9/9] Linking CXX shared module"]) + "\n"


@pytest.fixture
def check(tmp_path, capsys):
    """Runs the command on a log: (exit status, what it prints)."""
    budget = tmp_path / "budget.json"
    budget.write_text(json.dumps(BUDGET), encoding="utf-8")

    def run(text, *options):
        (tmp_path / "log").write_text(text, encoding="utf-8")
        status = ptxas_budget.main([str(tmp_path / "log"), "--budget", str(budget), *options])
        return status, capsys.readouterr().out

    return run


def test_what_was_budgeted_passes(check):
    assert check(log(KERNELS)) == (0, "4 kernels, 2 families: all within the budget\n")
    fewer = {name: registers - 1 for name, registers in KERNELS.items()}
    assert check(log(fewer))[0] == 0


@pytest.mark.parametrize(
    ("kernel", "row"),
    [
        (0, f"{FILTER}, float"),
        (1, f"{FILTER}, float"),
        (2, f"{FILTER}, Half"),
        (3, f"{ROUNDS}, any"),
    ],
)
def test_more_registers_fail(check, kernel, row):
    status, printed = check(log(KERNELS | {list(KERNELS)[kernel]: 73}))
    assert status == 1
    assert printed.startswith(row)
    assert printed.count("73 registers, budget") == printed.count("\n") == 1


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        ({"stores": 8}, "spills: 8 bytes"),
        ({"loads": 4}, "spills: 4 bytes"),
        ({"stack": 16}, "stack: 16 bytes"),
        ({"shared": ", 1024 bytes smem"}, "static shared memory: 1024 bytes"),
    ],
)
def test_spills_stack_and_shared_memory_fail_and_are_not_written(check, tmp_path, amount, message):
    for options in ((), ("--write",)):
        status, printed = check(log(KERNELS, **amount), *options)
        assert status == 1
        assert f"WriteRounds>: {message}, must be 0" in printed
    assert json.loads((tmp_path / "budget.json").read_text(encoding="utf-8")) == BUDGET


def test_an_unknown_kernel_fails(check):
    status, printed = check(log(KERNELS | {"_ZN10treefilter11flat_kernelINS_3NewEEEvT_": 8}))
    assert (status, printed) == (1, "flat_kernel<New>, any: 8 registers, not in the budget\n")


def test_an_unknown_type_fails(check):
    status, printed = check(log(KERNELS | {filter_kernel(128, "dd"): 8}))
    assert (status, printed) == (1, f"{FILTER}, double: 8 registers, not in the budget\n")


@pytest.mark.parametrize(("kernel", "row"), [(2, f"{FILTER}, Half"), (3, f"{ROUNDS}, any")])
def test_a_missing_family_or_type_fails(check, kernel, row):
    rest = {name: KERNELS[name] for name in KERNELS if name != list(KERNELS)[kernel]}
    assert check(log(rest)) == (1, f"{row}: in the budget, but not in the build\n")


def test_a_report_that_cannot_be_read_fails(check):
    assert check("nothing was compiled\n")[0] == 2
    cut = log(KERNELS).replace("72 registers", "some registers")
    assert check(cut)[0] == 1
    assert "4 kernels were compiled, the report of 3 can be read" in check(cut)[1]


def test_writing_makes_the_budget_of_a_log(check, tmp_path):
    (tmp_path / "budget.json").unlink()
    assert check(log(KERNELS), "--write")[0] == 0
    text = (tmp_path / "budget.json").read_text(encoding="utf-8")
    assert json.loads(text) == BUDGET
    assert len(text.splitlines()) == len(BUDGET) + 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("treefilter::cuda::mst::flat_kernel<treefilter::Climb>", ("flat_kernel<Climb>", "any")),
        ("f<a::PrefixSum::Reduce>", ("f<PrefixSum::Reduce>", "any")),
        ("f<SetZero<bool> >", ("f<SetZero>", "bool")),
        ("f<Links<Flow<(Path)1, float>, Sum<float>, true> >", ("f<Links<Flow,Sum>>", "float")),
        ("f<256, Tiles<Kind<40ul, 3>, false, Half, float> >", ("f<Tiles<Kind<3>>>", "Half")),
        ("f<Boruvka<GridGraph> >", ("f<Boruvka<GridGraph>>", "any")),
    ],
)
def test_families(name, expected):
    assert ptxas_budget.family(name) == expected


def test_the_committed_budget_is_as_it_is_written():
    text = ptxas_budget.BUDGET.read_text(encoding="utf-8")
    assert text == ptxas_budget.as_json(json.loads(text))
    assert len(text.splitlines()) <= 240
