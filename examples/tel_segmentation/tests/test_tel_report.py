"""The report of invented runs: its page, what it must not hide, its look in a browser."""

import base64
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
from tel_reports import CLASSES, COLORS, METHODS, make_run, mious, scene, spoil

from tel_segmentation import config
from tel_segmentation.commands import report
from tel_segmentation.commands.report import Report
from tel_segmentation.evaluation.pictures import panel
from tel_segmentation.report.format import markdown
from tel_segmentation.report.pictures import strips
from tel_segmentation.report.records import find_records
from tel_segmentation.report.table import experiments


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
