"""The report of invented runs: its numbers, what it must not hide, its look in a browser."""

import base64
import functools
import html
import io
import json
import re
import shutil
import subprocess
from statistics import fmean, stdev

import numpy as np
import pytest
import tyro
from PIL import Image
from scipy import ndimage

from tel_segmentation import config
from tel_segmentation.commands import report
from tel_segmentation.commands.report import Report
from tel_segmentation.evaluation.pictures import failure, panel
from tel_segmentation.report.format import markdown
from tel_segmentation.report.pictures import strips
from tel_segmentation.report.records import find_records
from tel_segmentation.report.table import experiments

CLASSES = ("plain", "rows", "columns", "checker", "dots", "noise")
COLORS = (
    (78, 89, 104), (230, 126, 34), (52, 152, 219), (39, 174, 96), (241, 196, 15), (155, 89, 182),
)  # fmt: skip
METHODS = {  # name: loss, mIoU, accuracy of prediction and of pseudo label
    "partial CE": (config.Loss("partial"), 0.52, 0.70, None),
    "naive": (config.Loss("naive"), 0.53, 0.71, 0.74),
    "Gated CRF": (config.Loss("gated_crf"), 0.56, 0.74, None),
    "TEL low": (config.Loss("tel", tel=config.TreeEnergy(level="low")), 0.61, 0.79, 0.82),
    "TEL high": (config.Loss("tel", tel=config.TreeEnergy(level="high")), 0.57, 0.75, 0.77),
    "TEL low+high": (config.Loss("tel"), 0.63, 0.81, 0.84),
    "full": (config.Loss("full"), 0.74, 0.90, None),
}


@functools.cache
def scene(index):
    rng = np.random.default_rng(index)
    field = rng.normal(size=(6, 64, 64))
    truth = ndimage.gaussian_filter(field, (0, 9, 9)).argmax(0)
    base = rng.uniform(0.2, 0.8, (6, 3))[truth]
    image = np.clip(base + rng.normal(scale=0.04, size=base.shape), 0, 1)
    sparse = np.full((64, 64), -1)
    for y, x in rng.integers(3, 61, (9, 2)):
        sparse[y - 1 : y + 2, x - 1 : x + 2] = truth[y, x]
    return image, truth, sparse


def guess(index, seed, quality):
    """A prediction with wrong patches."""
    _, truth, _ = scene(index)
    rng = np.random.default_rng(100 * index + seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(64, 64)), 3)
    wrong = noise > np.quantile(noise, quality)
    return np.where(wrong, (truth + rng.integers(1, 6)) % 6, truth)


def metrics(miou, rng):
    iou = [round(float(value), 4) for value in np.clip(rng.normal(miou, 0.07, 6), 0, 1)]
    values = {"miou": fmean(iou), "accuracy": miou + 0.18, "boundary_miou": miou - 0.15}
    return values | {"iou": iou, "protocol": {"scales": [1.0]}, "iteration": 300}


def make_run(folder, experiment, method, seed, shift=0.0, pictures=True, **more):
    """Writes the folder of a finished run; returns its result."""
    loss, miou, predicted, pseudo = METHODS.get(method, METHODS["TEL low"])
    rng = np.random.default_rng([seed, len(method), len(experiment), int(1000 * miou)])
    folder.mkdir(parents=True)
    settings = json.loads(config.to_json(config.Train(loss=loss, seed=seed)))
    last = metrics(miou + shift + 0.01 * seed, rng)
    result = {
        "name": folder.name,
        "experiment": experiment,
        "method": method,
        "seed": seed,
        "finished": True,
        "iterations": 300,
        "classes": list(CLASSES),
        "colors": [list(color) for color in COLORS],
        "labelled_ratio": 1.0 if method == "full" else 0.0148 + 0.0003 * seed,
        "wall_seconds": 61.5,
        "seconds_per_iteration": 0.12 + 0.02 * method.startswith("TEL"),
        "peak_memory_mb": 640.0,
        "device": "cpu",
        "threads": 1,
        "git": "0123456789abcdef",
        "versions": {"torch": "2.13.0", "treefilter": "0.1.0"},
        "parameters": 284_310,
        "weights": "random initialisation",
        "evaluation": {
            "split": "test",
            "last": last,
            "best": metrics(miou + 0.01, rng),
            "confusion": rng.integers(1, 1000, (6, 6)).tolist(),
            "failures": [{"name": "scene-0", "miou": 0.1234, "file": "01-scene-0.png"}],
        },
        "diagnostics": {"affinity_low": 0.95, "affinity_high": 0.41} if "TEL" in method else {},
        "config": settings,
    } | more
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.json").write_text(json.dumps(settings))
    write_history(folder / "history.jsonl", rng, miou, predicted, pseudo)
    if pictures:
        quality = [miou + 0.15, miou + 0.12, miou + 0.2]
        for index in range(3):
            write_panel(folder / "panels" / f"scene-{index}.png", index, seed, quality, pseudo)
        (folder / "failures").mkdir()
        image, truth, _ = scene(0)
        worst = failure(image, truth, guess(0, seed, 0.3), COLORS)
        worst.save(folder / "failures" / "01-scene-0.png")
    return result


def write_history(path, rng, miou, predicted, pseudo):
    lines = []
    for iteration in range(10, 301, 10):
        rise = 1 - np.exp(-iteration / 70)
        line = {"iteration": iteration, "loss": float(2.0 - 1.5 * rise + rng.normal(0, 0.03))}
        line["accuracy_prediction"] = float(predicted * rise + rng.normal(0, 0.01))
        if pseudo is not None:
            line["accuracy_pseudo"] = float(pseudo * min(1, rise + 0.1) + rng.normal(0, 0.01))
        lines.append(line)
        if iteration % 100 == 0:
            lines.append({"iteration": iteration, "evaluation": {"miou": float(miou * rise)}})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_panel(path, index, seed, quality, pseudo):
    image, truth, sparse = scene(index)
    prediction, low, final = (guess(index, seed, each) for each in quality)
    if pseudo is None:
        low = final = None
    path.parent.mkdir(exist_ok=True)
    panel(image, sparse, prediction, low, final, truth, COLORS).save(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two experiments; one borrows its full supervision; one run was killed."""
    root = tmp_path_factory.mktemp("runs")
    for method in METHODS:
        for seed in range(3):
            make_run(root / "point" / f"{method}-{seed}", "scenes/default/point", method, seed)
    for method in ("partial CE", "TEL low+high"):
        for seed in range(3):
            folder = root / "scribble" / f"{method}-{seed}"
            make_run(folder, "scenes/default/scribble", method, seed, 0.05, pictures=seed == 0)
    for seed in range(2):
        make_run(root / "dense" / f"{seed}", "scenes/default/dense", "full", seed, pictures=False)
    killed = root / "point" / "killed"
    make_run(killed, "scenes/default/point", "TEL low", 9, pictures=False)
    (killed / "result.json").unlink()
    history = killed / "history.jsonl"
    history.write_text(history.read_text()[:1000])
    return root


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    report.run(Report((runs,), folder / "report.html", folder / "results.md"))
    return folder / "report.html"


def mious(experiment, method):
    row = next(row for row in experiment.rows if row.method == method)
    return {run.seed: run.metrics["miou"] for run in row.runs}


def test_rows_hold_the_statistics_of_their_seeds(runs):
    point = experiments(find_records([runs]))[0]
    assert point.name == "scenes/default/point"
    order = ["partial CE", "naive", "Gated CRF", "TEL low", "TEL high", "TEL low+high", "full"]
    assert [row.method for row in point.rows] == order
    tel = next(row for row in point.rows if row.method == "TEL low+high")
    assert tel is point.headline
    partial, mine, full = (mious(point, name) for name in ("partial CE", "TEL low+high", "full"))
    assert tel.metric("miou").mean == pytest.approx(fmean(mine.values()))
    assert tel.metric("miou").std == pytest.approx(stdev(mine.values()))
    gains = [mine[seed] - partial[seed] for seed in range(3)]
    assert tel.gain.mean == pytest.approx(fmean(gains))
    assert tel.gain.margin == pytest.approx(2 * stdev(gains) / 3**0.5)
    assert (tel.gain.positive, tel.gain.seeds) == (sum(gain > 0 for gain in gains), 3)
    way = fmean(full[seed] - partial[seed] for seed in range(3))
    assert tel.gap == pytest.approx(fmean(gains) / way)


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


def test_full_supervision_is_borrowed_from_the_same_data_only(runs, tmp_path):
    scribble = experiments(find_records([runs]))[1]
    assert scribble.full.borrowed == "scenes/default/dense"
    assert scribble.headline.gap is not None
    make_run(tmp_path / "t", "x/y/point", "partial CE", 0, pictures=False)
    make_run(tmp_path / "u", "x/y/point", "TEL low", 0, pictures=False)
    other = json.loads(config.to_json(config.Train(config.Data("scenes:hard"))))
    other["loss"]["method"] = "full"
    make_run(tmp_path / "f", "x/y/dense", "full", 0, pictures=False, config=other)
    assert experiments(find_records([tmp_path]))[0].full is None


def test_markdown_is_the_same_for_the_same_records(runs, page, tmp_path):
    text = page.with_name("results.md").read_text()
    assert markdown(list(reversed(find_records([runs])))) == text
    moved = tmp_path / "elsewhere"
    shutil.copytree(runs, moved)
    parts = [moved / "scribble", moved / "dense", moved / "point"]
    assert markdown(find_records([*parts, moved])) == text
    row = next(line for line in text.splitlines() if line.startswith("| TEL low+high | 3 |"))
    assert re.fullmatch(
        r"\| TEL low\+high \| 3 \| \d\d\.\d ± \d+\.\d \| \+\d+\.\d ± \d+\.\d \| 3 of 3 \|"
        r" \d+ % \| \d\d\.\d ± \d\.\d \| \d\d\.\d ± \d\.\d \|",
        row,
    )
    assert "- killed: stopped at iteration" in text


def test_page_has_everything_in_itself(page):
    text = page.read_text()
    assert not re.search(r"(?:https?:)?//[a-z0-9]", re.sub(r"base64,[^\"]*", "", text), re.I)
    assert "<script" not in text
    assert not re.search(r"\son\w+=", text)
    sources = re.findall(r'src="([^"]*)"', text)
    assert sources
    for source in sources:
        data = base64.b64decode(source.removeprefix("data:image/png;base64,"), validate=True)
        Image.open(io.BytesIO(data)).verify()
    assert page.stat().st_size < 5e6


def test_page_names_what_did_not_finish(page):
    text = page.read_text()
    assert "1 of 30 runs did not finish" in text
    assert "killed" in text


def test_page_shows_every_method_in_its_colour(page):
    text = page.read_text()
    for method in METHODS:
        assert f"</span>{method}" in text
    assert text.count("<svg") == 9  # three experiments × three figures
    assert len(re.findall(r'class="strip card"', text)) >= 6


def test_page_shows_where_the_headline_s_method_fails(runs, page):
    text = page.read_text()
    point = text[text.index('id="experiment-0"') : text.index('id="experiment-1"')]
    assert "Images of “test” with the lowest mIoU" in point
    assert "scene-0: mIoU 12.3" in point
    assert len(re.findall(r'alt="errors of scene-0"', point)) == 1
    total = sum(
        np.array(json.loads(file.read_text())["evaluation"]["confusion"])
        for file in (runs / "point").glob("TEL low+high-*/result.json")
    )
    table = re.search(r'<table class="confusion">(.*?)</table>', point, re.DOTALL)[1]
    shown = [float(cell) for cell in re.findall(r"<td [^>]*>([\d.]+)</td>", table)]
    wanted = (100 * total / total.sum(1, keepdims=True)).round(1)
    assert shown == pytest.approx(wanted.ravel().tolist(), abs=0.051)


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>|$\\frac{`*_\x00\n'


def test_strings_from_files_are_only_text(tmp_path):
    folder = tmp_path / "runs" / "<b>run<b>"
    loud = dict.fromkeys(("name", "weights", "git", "device"), HOSTILE)
    loud["classes"] = [HOSTILE, *CLASSES[1:]]
    loud["versions"] = {HOSTILE: HOSTILE}
    loud["diagnostics"] = {HOSTILE: 1.0}
    loud["config"] = {HOSTILE: HOSTILE, "loss": {"method": "tel", "tel": {"level": HOSTILE}}}
    make_run(folder, HOSTILE, HOSTILE, 0, **loud)
    result = json.loads((folder / "result.json").read_text())
    result["evaluation"]["failures"][0]["name"] = HOSTILE
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "panels" / "scene-0.png").rename(folder / "panels" / "<script>'&\".png")
    broken = tmp_path / "runs" / "broken"
    broken.mkdir()
    (broken / "result.json").write_text(
        json.dumps({"finished": False, "name": HOSTILE, "error": HOSTILE})
    )
    output = tmp_path / "report.html"
    report.run(Report((tmp_path / "runs",), output, tmp_path / "r.md", title=HOSTILE))
    text = output.read_text()
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "<b>run" not in text
    assert "\x00" not in text
    assert "&lt;script&gt;" in text
    table = (tmp_path / "r.md").read_text()
    assert "<script" not in table.replace("\\<", "")
    (row,) = (line for line in table.splitlines() if "alert" in line and line.startswith("| "))
    assert len(re.findall(r"(?<!\\)\|", row)) == 9


def spoil(**changes):
    def change(folder):
        path = folder / "result.json"
        values = json.loads(path.read_text())
        for name, value in changes.items():
            target = values
            *inner, last = name.split("__")
            for key in inner:
                target = target[key]
            target[last] = value
        path.write_text(json.dumps(values))

    return change


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


def test_seeds_that_differ_in_more_are_named(tmp_path):
    make_run(tmp_path / "a", "e", "TEL low", 0, pictures=False)
    make_run(tmp_path / "b", "e", "TEL low", 1, pictures=False)
    spoil(config__optimizer__lr=0.5)(tmp_path / "b")
    report.run(Report((tmp_path,), tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    assert "differ in more than the seed" in text
    assert "e, TEL low, seed 1: optimizer.lr = 0.5" in text


def test_a_loss_is_told_as_one(tmp_path):
    """The headline says so if the tree energy loss is worse than partial cross entropy."""
    for method, shift in (("partial CE", 0.0), ("TEL low", -0.4), ("full", 0.0)):
        make_run(tmp_path / method, "e", method, 0, shift, pictures=False)
    report.run(Report((tmp_path,), tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    assert re.search(r'class="number loss">−\d+ %<', text)
    assert "not closed" in text


def test_bold_is_what_is_best(tmp_path):
    """In each column on its own, and without full supervision, which is the goal."""
    diagnostics = {"affinity_low_median": 0.9}
    for method, shift in (("partial CE", 0.0), ("TEL low", -0.4), ("full", 0.0)):
        make_run(tmp_path / method, "e", method, 0, shift, diagnostics=diagnostics, split="val")
    file = tmp_path / "TEL low" / "result.json"
    result = json.loads(file.read_text())
    result["evaluation"]["last"]["boundary_miou"] = 0.99
    file.write_text(json.dumps(result))
    report.run(Report((tmp_path,), tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    rows = re.findall(r'<tr(?: class=key)?><th scope="row">(.*?)</tr>', text)
    bold = {
        re.sub("<.*?>", "", row.partition("</th>")[0]): re.findall(
            r'<td data-label="([^"]*)" class=best>', row
        )
        for row in rows
        if 'data-label="mIoU"' in row
    }
    assert bold == {"partial CE": ["mIoU", "accuracy"], "TEL low": ["boundary mIoU"], "full": []}
    assert "Bold: the best mean of a column, full supervision apart." in text
    assert "The same training images, segmented by every method" in text
    assert "affinity_<wbr>low_<wbr>median</th>" in text  # the table is no wider than its card


def test_one_run_alone_is_a_page(tmp_path):
    make_run(tmp_path / "a", "e", "TEL low", 0, pictures=False)
    (tmp_path / "a" / "history.jsonl").unlink()
    report.run(Report((tmp_path,), tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    assert "TEL low" in text
    assert "<svg" not in text


BROWSERS = (
    "chromium", "chromium-browser", "chrome", "google-chrome", "google-chrome-stable",
    "chromium-headless-shell",
)  # fmt: skip
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
WIDTHS = (390, 1280)
FRAMES = """<!doctype html><meta charset="utf-8"><body style="margin:0;background:#f0f"><script>
onload = () => {
  const facts = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument;
    page.querySelectorAll("details").forEach(each => { each.open = true; });
    return {
      width: page.documentElement.scrollWidth,
      tables: page.querySelectorAll("table").length,
      plots: page.querySelectorAll("svg").length,
      pictures: [...page.images].filter(each => each.naturalWidth > 50).length,
      broken: [...page.images].filter(each => !each.naturalWidth).length,
      rows: [...page.querySelectorAll("table.rows tbody th")].map(each => each.textContent),
      number: page.querySelector(".number").getBoundingClientRect().height,
      requests: frame.contentWindow.performance.getEntriesByType("resource")
        .map(each => each.name).filter(name => !name.startsWith("data:")),
    };
  });
  const json = document.createElement("pre");
  json.textContent = JSON.stringify(facts);
  document.body.append(json);
};
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_browser_shows_it(page, tmp_path):
    frame = '<iframe src="{}" style="border:0;width:{}px;height:2400px"></iframe>'
    outer, shot = tmp_path / "frames.html", tmp_path / "shot.png"
    outer.write_text(FRAMES + "".join(frame.format(page.as_uri(), width) for width in WIDTHS))
    run = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--hide-scrollbars", "--allow-file-access-from-files",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom", f"--screenshot={shot}", "--window-size=1680,2400", outer.as_uri(),
        ],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    facts = json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", run.stdout, re.S)[1]))
    for width, each in zip(WIDTHS, facts, strict=True):
        assert each["width"] == width  # nothing is wider than the page, not even on a phone
        assert each["tables"] >= 8
        assert each["plots"] == 9
        assert each["pictures"] > 40
        assert each["broken"] == 0
        assert each["requests"] == []
        assert "TEL low+high" in each["rows"]
        assert each["number"] > 40  # the style sheet is applied
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    left = 0
    for width in WIDTHS:
        part = pixels[:, left : left + width]
        left += width
        assert len(np.unique(part.reshape(-1, 3), axis=0)) > 500
        assert (part.std(axis=(1, 2)) > 1).mean() > 0.5  # rows that are not empty


def test_command_line_takes_its_folders_by_place():
    options = tyro.cli(Report, args=["a", "b", "--output", "c.html"])
    assert [str(path) for path in options.runs] == ["a", "b"]
    assert options.output.name == "c.html"


def test_no_picture_of_a_truth_that_is_not_known(tmp_path):
    make_run(tmp_path / "run", "photos/drawn", "TEL low+high", 0)
    image, truth, sparse = scene(1)
    for name, known in (("scene-1", np.full_like(truth, -1)), ("scene-2", np.zeros_like(truth))):
        drawn = panel(image, sparse, truth, truth, truth, known, COLORS)
        drawn.save(tmp_path / "run" / "panels" / f"{name}.png")
    (group,) = experiments(find_records([tmp_path]))
    found = {
        strip.name: [tiles[-1].caption for tiles in (strip.compared, strip.steps)]
        for strip in strips(group, 3)
    }
    assert found["scene-1"] == ["TEL low+high", "pseudo label, final"]
    assert found["scene-2"] == ["truth", "truth"]
