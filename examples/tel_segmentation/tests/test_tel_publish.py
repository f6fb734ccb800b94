"""Published runs: the file gives the same tables as the folders of the runs."""

import json
import re
import shutil

import pytest
from tel_reports import make_run
from test_tel_report_paper import write

from tel_segmentation.commands import publish
from tel_segmentation.commands.publish import Publish
from tel_segmentation.paper.beside import beside
from tel_segmentation.paper.curves import curves_table
from tel_segmentation.paper.tables import sorted_out
from tel_segmentation.report.format import markdown
from tel_segmentation.report.page import page
from tel_segmentation.report.pictures import SHOWN
from tel_segmentation.report.published import PUBLISHED, end_of_training, read_published, thinned
from tel_segmentation.report.records import find_records
from tel_segmentation.runtime.run_folder import FAILURES


def lines_of(folder):
    text = (folder / PUBLISHED).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def runs(tmp_path):
    """Folders of runs, of which one was killed."""
    root = tmp_path / "runs"
    for method in ("partial CE", "TEL low", "TEL low+high"):
        for seed in (0, 1):
            make_run(root / f"{method} {seed}", "scenes/default/point", method, seed)
    make_run(root / "full", "scenes/default/dense", "full", 0)
    make_run(root / "scribble", "scenes/default/scribble", "TEL low", 0)
    make_run(root / "killed", "scenes/default/point", "TEL low", 9)
    (root / "killed" / "result.json").unlink()
    return root


@pytest.fixture
def published(runs, tmp_path):
    folder = tmp_path / "results" / "scenes"
    publish.run(Publish((runs,), folder, pictures=True))
    return folder


def numbers(line):
    """The numbers of a log line or of an evaluation."""
    return list(line.get("evaluation", line).values())


def without_curves(text):
    return re.sub(r"<svg.*?</svg>", "<svg/>", text, flags=re.DOTALL)


def test_the_same_tables_and_the_same_page(runs, published):
    shutil.rmtree(runs / "killed")
    shutil.rmtree(runs / "scribble" / "panels")  # no page shows them: the experiment has one method
    for folder in runs.glob(f"**/{FAILURES}"):  # not published
        shutil.rmtree(folder)
    before, after = find_records([runs]), find_records([published])
    assert markdown(after) == markdown(before)
    pages = [page(records, "title") for records in (before, after)]
    assert without_curves(pages[1]) == without_curves(pages[0])
    assert pages[1].count("<svg") == pages[0].count("<svg")


def test_a_line_is_the_result_and_the_history(runs, published):
    by_name = {record.name: record for record in find_records([published])}
    assert len(lines_of(published)) == len(by_name) == 8
    for record in find_records([runs]):
        if record.finished:
            found = by_name[record.name]
            assert found.folder == published / record.name
            assert {**found.result, "config": 0} == {**record.result, "config": 0}
            assert found.config == json.loads(
                json.dumps(record.config).replace("runs/run", "run")
            )  # portable
            assert found.end == record.end
            assert len(found.history) == len(record.history) == 33
            for mine, theirs in zip(found.history, record.history, strict=True):
                assert mine.keys() == theirs.keys()
                assert mine["iteration"] == theirs["iteration"]
                pairs = zip(numbers(mine), numbers(theirs), strict=True)
                assert all(a == pytest.approx(b, rel=1e-4) for a, b in pairs)


def test_few_files(published):
    files = sorted(str(p.relative_to(published)) for p in published.rglob("*") if p.is_file())
    pictures = [f"{name} 0/panels" for name in ("TEL low", "TEL low+high", "partial CE")]
    expected = [
        f"{folder}/scene-{i}.png" for folder in [*pictures, "full/panels"] for i in range(3)
    ]
    assert files == sorted([*expected, PUBLISHED])


def test_no_more_pictures_than_the_page_shows(tmp_path):
    make_run(tmp_path / "a", "scenes/default/point", "TEL low", 0)
    panels = tmp_path / "a" / "panels"
    for index in range(3, 6):
        shutil.copyfile(panels / "scene-0.png", panels / f"scene-{index}.png")
    publish.run(Publish((tmp_path / "a",), tmp_path / "b", pictures=True))
    assert len(list(tmp_path.glob("b/a/panels/*.png"))) == SHOWN == 4


def test_publishing_again_changes_nothing(runs, published):
    before = (published / PUBLISHED).read_bytes()
    publish.run(Publish((runs,), published, pictures=True))
    assert (published / PUBLISHED).read_bytes() == before
    publish.run(Publish((published,), published, pictures=True))  # its own source
    assert (published / PUBLISHED).read_bytes() == before


def test_publishing_more_keeps_what_is_there(published, tmp_path):
    before = lines_of(published)
    make_run(tmp_path / "more" / "full", "scenes/default/dense", "full", 0, git="later")
    make_run(tmp_path / "more" / "new", "scenes/default/dense", "full", 1)
    publish.run(Publish((tmp_path / "more",), published))
    after = {line["name"]: line for line in lines_of(published)}
    assert list(after) == sorted(after)
    assert after["full"]["git"] == "later"
    assert after.keys() == {line["name"] for line in before} | {"new"}
    for line in before:
        if line["name"] != "full":
            assert after[line["name"]] == line


def test_two_runs_of_one_name(tmp_path):
    make_run(tmp_path / "a" / "run", "e", "full", 0)
    make_run(tmp_path / "b" / "run", "e", "full", 1)
    with pytest.raises(ValueError, match="must have different names, got 'run' twice"):
        publish.run(Publish((tmp_path,), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_run_folders_beside_a_published_file_are_read(published, tmp_path):
    make_run(published / "unpublished", "scenes/default/dense", "full", 5)
    assert len(find_records([published])) == 9
    assert len(find_records([published.parent, published, published / "unpublished"])) == 9
    make_run(published / "again", "scenes/default/dense", "full", 0)
    with pytest.raises(ValueError, match="must be another run than"):
        find_records([published])


def test_a_long_history_is_thinned_to_means():
    lines = [
        {"iteration": 10 * i, "loss": 1 / i, "lr": 1 - i / 100, "seconds": 2.0 * i}
        for i in range(1, 91)
    ]
    lines[1]["unlabelled"] = 5.0
    points = thinned(lines, 30)
    assert [point["iteration"] for point in points] == [30 * i for i in range(1, 31)]
    assert points[0] == {
        "iteration": 30,
        "loss": pytest.approx((1 + 1 / 2 + 1 / 3) / 3, abs=5e-6),
        "lr": 0.97,
        "seconds": 6.0,
        "unlabelled": 5.0,
    }
    assert len(thinned(lines[:31], 30)) == 16
    assert thinned(lines[:30], 30)[29]["loss"] == pytest.approx(1 / 30, rel=1e-4)
    assert thinned([]) == []


def test_the_end_of_the_training_is_of_all_lines(tmp_path):
    history = [{"iteration": i, "loss": float(i)} for i in range(1, 1001)]
    history.append({"iteration": 1000, "evaluation": {"miou": 0.5}})
    assert end_of_training(history, 1000) == {"loss": 950.5}
    assert end_of_training([], 1000) == {}
    make_run(tmp_path / "runs" / "a", "e", "full", 0, iterations=1000)
    (tmp_path / "runs" / "a" / "history.jsonl").write_text("\n".join(map(json.dumps, history)))
    publish.run(Publish((tmp_path / "runs",), tmp_path / "out"))
    (record,) = find_records([tmp_path / "out"])
    assert len(record.history) == 31
    assert record.end == {"loss": 950.5}


def test_the_papers_tables_are_the_same(tmp_path):
    """This includes the table of curves, which uses the end of the training."""
    for seed, miou in ((1, 0.6), (2, 0.7)):
        write(tmp_path / "runs" / f"tel{seed}", "f7.tel", miou, seed=seed)
        write(tmp_path / "runs" / f"base{seed}", "f7.baseline", miou / 2, seed=seed)
    publish.run(Publish((tmp_path / "runs",), tmp_path / "out"))
    before, after = (find_records([tmp_path / folder]) for folder in ("runs", "out"))
    assert beside(after, []) == beside(before, [])
    table = curves_table(sorted_out(after)[0])
    assert table == curves_table(sorted_out(before)[0])
    assert all(re.fullmatch(r"[+-]\d+\.\d", cell) for row in table[1:] for cell in row[-2:])


def cut(text):
    return text[: len(text) // 2]


def changed(path, value):
    def change(text):
        line = json.loads(text)
        *inner, last = path.split(".")
        target = line
        for name in inner:
            target = target[name]
        target[last] = value
        return json.dumps(line)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "must be a published run"),
        (lambda text: "[1]", "must be a published run"),
        (lambda text: "", "must be a published run"),
        (changed("history", None), "must be a published run"),
        (changed("history.logs.loss", [1.0]), "must be a published run"),
        (changed("history.logs.iteration", ["a"] * 30), "must be a published run"),
        (changed("history.end", {"loss": "low"}), "must be a published run"),
        (changed("name", 3), "must be a published run"),
        (
            changed("name", "../a"),
            "must be a published run, got: .*name '../a' is no folder's name",
        ),
        (changed("name", ".."), "name '..' is no folder's name"),
        (changed("method", None), "method must be of type str"),
        (changed("seed", "one"), "seed must be of type int, got 'one'"),
        (changed("config.loss.tel", 3), "tel must be of type dict"),
        (changed("evaluation.last.iou", [0.5]), "iou must have 6 values, got 1"),
    ],
)
def test_a_malformed_line_is_named(published, change, message):
    file = published / PUBLISHED
    first, second, *rest = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([first, change(second), *rest]) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{PUBLISHED}, line 2\b.*{message}"):
        find_records([published])


def test_a_name_with_a_line_separator_is_one_line(tmp_path):
    make_run(tmp_path / "runs" / "a", "e", "TEL\u2028low\n", 0)
    publish.run(Publish((tmp_path / "runs",), tmp_path / "out"))
    (record,) = find_records([tmp_path / "out"])
    assert record.method == "TEL\u2028low\n"
    assert len(list(read_published(tmp_path / "out" / PUBLISHED))) == 1
