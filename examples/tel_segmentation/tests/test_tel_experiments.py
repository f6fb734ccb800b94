"""The paper's experiments: all numbers have one, all methods are described; the lists."""

import re
from pathlib import Path

import pytest

from tel_segmentation import cli
from tel_segmentation.losses.methods import METHODS as TERMS
from tel_segmentation.paper import needs, numbers
from tel_segmentation.paper.experiments import experiments, find, matching, resolve
from tel_segmentation.paper.listing import listing, recipe_table
from tel_segmentation.paper.methods import METHODS

PAGE = Path(__file__).parents[1] / "results" / "experiments.md"


def test_every_number_of_the_paper_has_an_experiment():
    known = experiments()
    assert set(numbers.PAPER) | set(numbers.README) <= set(known)
    without = {id for id in known if id not in numbers.PAPER}
    assert without == {"f5", "f6.baseline", "f6.tel", "f7.baseline", "f7.tel"}
    tables = {each.table for each in known.values()}
    assert tables == {"T1", "T2", "T3", "T4", "T5", "T6", "T7", "F5", "F6", "F7"}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("t1.point.", [58.5, 64.9, 68.4, 74.2]),
        ("t1.scribble.", [68.8, 77.1, 77.3]),
        ("t1.full.", [80.2, 80.9]),
        ("t2.cs.hrnet", [52.8, 57.4, 61.9, 58.6, 61.8, 66.9, 68.8, 70.9, 72.2, 78.2]),
        ("t2.cs.dlv3p", [48.4, 55.6, 64.8, 52.8, 61.5, 67.3, 60.5, 69.3, 71.5, 80.2]),
        ("t2.ade.hrnet", [30.2, 31.9, 33.8, 33.1, 33.8, 35.5, 37.2, 38.4, 40.0, 42.5]),
        ("t2.ade.dlv3p", [30.8, 31.2, 34.3, 33.4, 34.0, 36.0, 36.6, 37.4, 39.2, 44.6]),
        ("t3a", [76.0, 76.6, 75.1, 77.1]),
        ("t3b", [68.8, 76.3, 71.9, 77.1]),
        ("t3c", [75.0, 76.3, 70.2, 71.9]),
        ("t3d", [76.4, 75.8, 77.1]),
        ("t3e", [74.9, 76.0, 76.4, 77.1, 77.0]),
        ("t3f", [76.6, 77.1, 76.8, 77.0, 76.3]),
        ("t4", [32.85, 32.86, 34.78, 46.65, 46.67, 48.43]),
        ("t5", [9.0, 9.2, 9.8, 11.7, 12.2, 12.7]),
        ("t6", [7.3, 7.3, 7.5, 56.5, 70.2, 70.3, 68.8]),
        ("t7", [74.8, 76.0, 77.5]),
    ],
)
def test_the_papers_numbers_in_its_order(table, expected):
    ordered = sorted(matching((table,)), key=lambda e: list(experiments()).index(e.id))
    assert [each.paper for each in ordered] == expected


def test_the_readmes_numbers():
    cs, ade = ([find(f"t2.{data}.hrnet.b{p}.tel").readme for p in (10, 20, 50)]
               for data in ("cs", "ade"))  # fmt: skip
    assert (cs, ade) == ([61.8, 66.8, 72.2], [34.7, 36.5, 40.3])
    of_voc = {id: each.readme for id, each in experiments().items() if each.readme and "t1" in id}
    assert of_voc == {
        "t1.point.dlv3p.tel": 65.4, "t1.point.ltf.tel": 68.0,
        "t1.scribble.dlv3p.tel": 77.6, "t1.scribble.ltf.tel": 77.4,
    }  # fmt: skip
    assert find("t2.cs.dlv3p.b20.tel").readme is None
    assert len(numbers.README) == 10


def test_the_competitors_numbers():
    found = {}
    for quoted in numbers.QUOTED:
        found.setdefault((quoted.table, quoted.annotation), []).append(quoted.miou)
    assert found == {
        ("T1", "full"): [71.6, 77.7],
        ("T1", "point"): [43.4, 57.0, 66.8, 72.5, 73.2],
        ("T1", "scribble"): [63.1, 74.5, 75, 75, 72.8, 76, 76.1, 76.1, 74.9, 76.2, 76.2],
        ("T7", "scribble"): [76.4, 74.0, 76.1],
    }  # fmt: skip
    assert numbers.CURVES == {"f7.tel": (5.6, 7.3)}


def test_runs_of_one_name_are_one_run():
    """Reports distinguish runs by experiment and method; shared runs have the same settings."""
    seen = {}
    for each in experiments().values():
        if each.kind == "cost":
            continue
        options = resolve(each)
        assert seen.setdefault((options.experiment, options.method), options) == options
        if each.shares:
            own = resolve(find(each.shares))
            assert options == own
            if each.table != "F5":
                ours, theirs = each.paper, find(each.shares).paper
                # the last row of Tab. 6 has the baseline's number
                assert each.kind in ("test", "panels", "curves") or ours == theirs, each.id


def test_hours_follow_from_the_papers():
    assert needs.gpu_hours(find("t1.scribble.dlv3p.tel")) == pytest.approx(4 * 9.8)
    assert needs.gpu_hours(find("t1.scribble.dlv3p.baseline")) == pytest.approx(36)
    assert needs.gpu_hours(find("t3b.low")) == pytest.approx(4 * 9.2)
    assert needs.gpu_hours(find("t1.scribble.ltf.tel"), "paper") == pytest.approx(4 * 12.7)
    assert needs.gpu_hours(find("t1.scribble.ltf.tel")) == pytest.approx(8 * 12.7)  # batch 32
    # Two teachers and the student.
    assert needs.gpu_hours(find("t1.point.dlv3p.tel_seminar")) == pytest.approx(3 * 4 * 9.8)
    hours = [needs.gpu_hours(each) for each in experiments().values()]
    assert all(0 < value < 500 for value in hours)


def test_every_method_of_the_tables_has_a_word():
    named = {quoted.method for quoted in numbers.QUOTED}
    said = " | ".join(method.name for method in METHODS)
    assert not [name for name in named if name not in said]
    for method in METHODS:
        assert method.why or method.state == "implemented"
        if method.state == "quoted only":
            assert not method.id
        elif method.id.startswith("--loss.method "):
            assert method.id.split()[1] in TERMS
        else:
            find(method.id)


def test_the_page_is_current():
    text = PAGE.read_text(encoding="utf-8")
    assert text == listing()
    assert set(re.findall(r"^\| `([tf]\d[^`]*)`", text, re.MULTILINE)) == set(experiments())


def test_what_the_list_says_can_be_run(capsys):
    for id in experiments():
        assert cli.main(["experiments", id]) == 0
        text = capsys.readouterr().out
        (command,) = re.findall(r"^run +tel run (\S+)$", text, re.MULTILINE)
        asked, printed = find(id), find(command)
        assert printed.run == asked.run
        assert (printed.kind, printed.crf) == (asked.kind, asked.crf)
        assert ("pydensecrf2" in text) == asked.crf


def test_rates_of_the_recipes_are_those_of_the_networks():
    head, *rows = recipe_table()
    rates = dict(zip(head, next(row for row in rows if row[0] == "ASPP rates"), strict=True))
    assert rates["voc DeepLabV3+, official"] == "12, 24, 36"
    assert rates["voc DeepLabV3+, paper"] == "6, 12, 18"
    assert rates["cs DeepLabV3+, paper"] == "12, 24, 36"  # the standard ones at stride 8
    assert rates["voc DeepLabV2, paper"] == "6, 12, 18, 24, summed"
    assert rates["cs HRNet-W48, official"] == rates["voc LTF, official"] == "no ASPP"


def test_the_command(tmp_path, capsys):
    assert cli.main(["experiments"]) == 0
    everything = capsys.readouterr().out.splitlines()
    assert len(everything) == 1 + len(experiments())
    assert cli.main(["experiments", "*.ltf.*", "t7"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert all(".ltf." in line or line.startswith("t7") for line in lines)
    assert any(re.search(r"t1\.scribble\.ltf\.tel +77\.3 +77\.4 +102 ", line) for line in lines)
    assert cli.main(["experiments", "t2.cs.hrnet.b20.tel", "--recipe", "paper"]) == 0
    text = capsys.readouterr().out
    for expected in ("66.9", "66.8", "1024 × 512", "weight decay 0.0001", "σ 0.002", "40,000"):
        assert expected in text
    assert cli.main(["experiments", "t8"]) == 2
    assert "similar ids: f5, f6, f7, t1" in capsys.readouterr().err
    assert cli.main(["experiments", "--markdown", str(tmp_path / "a" / "page.md")]) == 0
    assert (tmp_path / "a" / "page.md").read_text(encoding="utf-8") == listing()
