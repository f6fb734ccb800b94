"""Records of runs: what is read, refused and told apart."""

import shutil

import pytest
from PIL import Image
from tel_reports import CLASSES, make_run, mious, spoil

from tel_segmentation.commands import report
from tel_segmentation.commands.report import Report
from tel_segmentation.report.records import find_records
from tel_segmentation.report.table import experiments


def test_differences_are_paired_by_seed(tmp_path):
    """A seed that only one method has changes the method's mean, but not its difference."""
    for seed in (0, 1):
        make_run(tmp_path / f"p{seed}", "a/b/point", "partial CE", seed, pictures=False)
    for seed in (1, 2):
        make_run(tmp_path / f"t{seed}", "a/b/point", "TEL low", seed, pictures=False)
    (group,) = experiments(find_records([tmp_path]))
    partial, tel = mious(group, "partial CE"), mious(group, "TEL low")
    assert group.headline.gain == (pytest.approx(tel[1] - partial[1]), None, 1, 1)
    assert group.headline.gap is None


def test_full_supervision_is_borrowed_from_the_same_continuation_first(tmp_path):
    for i, (name, method) in enumerate(
        [
            ("a/point/street", "partial CE"),
            ("a/point/street", "TEL low"),
            ("a/dense", "full"),
            ("a/dense/street", "full"),
        ]
    ):
        make_run(tmp_path / f"{i}", name, method, 0, pictures=False)
    groups = {group.name: group for group in experiments(find_records([tmp_path]))}
    assert groups["a/point/street"].full.borrowed == "a/dense/street"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "result.json").write_text("{"), r"result\.json must be JSON"),
        (lambda folder: (folder / "result.json").write_text("[1]"), "must be a JSON object"),
        (lambda folder: (folder / "result.json").write_bytes(b"\xff\xfe"), "must be JSON"),
        (spoil(seed="one"), r"result\.json: seed must be of type int, got 'one'"),
        (spoil(seed=True), "seed must be of type int"),
        (spoil(method=None), "method must be of type str"),
        (spoil(finished="yes"), "finished must be of type bool"),
        (spoil(evaluation=None), "evaluation must be of type dict"),
        (spoil(evaluation__last__miou=float("nan")), "miou must be a finite number, got nan"),
        (spoil(evaluation__last__iou=[0.5]), "iou must have 6 values, got 1"),
        (spoil(evaluation__last__iou=["a"] * 6), "iou must be a finite number"),
        (spoil(classes=[]), "classes must be names"),
        (spoil(colors=[[0, 0, "red;"]] * 6), "colors must be one"),
        (spoil(evaluation__confusion=[[1]]), "confusion must be 6 × 6 counts"),
        (spoil(evaluation__failures=[3]), "failures must be images"),
        (
            spoil(evaluation__failures=[{"name": "a", "miou": 0.1, "file": "../a.png"}]),
            "file must be a name, not a path",
        ),
        (spoil(colors=[[0, 0, 300]] * 6), "colors must be one"),
        (spoil(config=3), "config must be of type dict"),
        (spoil(config__loss__tel=3), "tel must be of type dict"),
        (spoil(diagnostics={"a": "b"}), "diagnostics must be numbers"),
        (spoil(wall_seconds="long"), "wall_seconds must be a finite number"),
        (spoil(training_images="all"), "training_images must be a finite number"),
        (spoil(annotate="blocks"), "annotate must be of type dict"),
        (
            lambda folder: (folder / "history.jsonl").write_text('{"iteration": 1}\n{"loss": 2}\n'),
            r"history\.jsonl, line 2",
        ),
        (
            lambda folder: (folder / "panels" / "scene-1.png").write_text("no picture"),
            r"scene-1\.png must be a panel",
        ),
        (
            lambda folder: Image.new("RGB", (50, 9)).save(folder / "panels" / "scene-1.png"),
            r"scene-1\.png must be a panel",
        ),
    ],
)
def test_malformed_record_is_named(tmp_path, change, message):
    make_run(tmp_path / "runs" / "a", "e", "TEL low", 0)
    change(tmp_path / "runs" / "a")
    with pytest.raises(ValueError, match=message):
        report.run(Report((tmp_path / "runs",), tmp_path / "report.html"))
    assert not (tmp_path / "report.html").exists()


def test_folders_that_hold_nothing(tmp_path):
    with pytest.raises(ValueError, match="got no such folder"):
        find_records([tmp_path / "nothing"])
    with pytest.raises(ValueError, match="got none"):
        find_records([tmp_path])


def test_a_run_does_not_count_twice(tmp_path):
    make_run(tmp_path / "a", "e", "TEL low", 0, pictures=False)
    assert len(find_records([tmp_path, tmp_path / "a", tmp_path])) == 1
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with pytest.raises(ValueError, match=r"b must be another run than .*a, got the same"):
        find_records([tmp_path])


def test_runs_of_one_method_with_other_settings_have_rows_of_their_own(tmp_path):
    for name, seed, sigma in (("a", 0, 0.02), ("b", 1, 0.02), ("c", 0, 0.002)):
        make_run(tmp_path / name, "e", "TEL low", seed, pictures=False)
        spoil(config__loss__tel__sigma=sigma, config__log_every=seed + 1)(tmp_path / name)
    (group,) = experiments(find_records([tmp_path]))
    assert [(row.method, len(row.runs)) for row in group.rows] == [
        ("TEL low, loss.tel.sigma = 0.002", 1),
        ("TEL low, loss.tel.sigma = 0.02", 2),
    ]
    report.run(Report((tmp_path,), tmp_path / "report.html"))


def test_runs_that_cannot_be_compared_are_experiments_of_their_own(tmp_path):
    """Evaluated on the training images, on those held out, and with a class that was added."""
    names = [*CLASSES[:-1], "dust"]
    for name, changes in (
        ("a", {"evaluation__split": "train"}),
        ("b", {"evaluation__split": "val", "config__data__holdout": 0.25}),
        ("c", {"evaluation__split": "val", "classes": names}),
    ):
        make_run(tmp_path / name, "e", "TEL low", 0, pictures=False)
        spoil(**changes)(tmp_path / name)
    groups = experiments(find_records([tmp_path]))
    assert [(group.name, group.split) for group in groups] == [
        ("e, evaluated on train, 6 classes with noise", "train"),
        ("e, evaluated on val, 6 classes with dust", "val"),
        ("e, evaluated on val, 6 classes with noise", "val"),
    ]
    assert all([row.method for row in group.rows] == ["TEL low"] for group in groups)
    report.run(Report((tmp_path,), tmp_path / "report.html"))
