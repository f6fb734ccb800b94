"""``tel report --paper``: our results beside the paper's, blank without runs."""

import dataclasses
import json
import re
import shutil

import pytest
from PIL import Image

from tel_segmentation import cli, config
from tel_segmentation.commands.report import Report
from tel_segmentation.commands.report import run as report
from tel_segmentation.paper.curves import curves_table
from tel_segmentation.paper.experiments import experiments, find, resolve
from tel_segmentation.paper.sameness import deviations
from tel_segmentation.paper.tables import accuracy_table, sorted_out
from tel_segmentation.report.records import find_records
from tel_segmentation.training.record import portable

CLASSES = ["a", "b"]


IMAGES = {"voc": (10_582, 1_449), "cityscapes": (2_975, 500), "ade20k": (20_210, 2_000)}
"""The published numbers of images, for training and for validation."""


def metrics(miou, images=1):
    return {
        "miou": miou, "accuracy": 0.9, "boundary_miou": 0.3, "iou": [miou, miou], "images": images,
    }  # fmt: skip


def write(
    folder, id, miou, recipe="official", seed=304, change=lambda options: options, total=None,
    **other,
):  # fmt: skip
    """Writes a record with the paper's settings, except for ``change`` and ``other``."""
    options = resolve(find(id), recipe)
    kind = options.data.source.partition(":")[0]
    images, evaluated = IMAGES[kind]
    settings = change(
        dataclasses.replace(
            options,
            seed=seed,
            batch=4,
            accumulate=2,
            data=dataclasses.replace(options.data, source=f"{kind}:elsewhere", workers=9),
            output=folder,
        )
    )
    protocols = {
        name: {
            "last": metrics(miou + add, evaluated),
            "best": metrics(miou + add + 0.001, evaluated),
        }
        for name, add in (("ss", 0.01), ("msf", 0.02), ("official", 0.03))
    }
    folder.mkdir(parents=True)
    result = {
        "name": folder.name,
        "experiment": settings.experiment,
        "method": settings.method,
        "seed": seed,
        "finished": True,
        "iterations": settings.iterations,
        "paper": {"id": settings.paper_id, "recipe": recipe},
        "batch": {"total": total or options.batch, "processes": 2},
        "classes": CLASSES,
        "colors": [[0, 0, 0], [9, 9, 9]],
        "evaluation": {
            "split": "val",
            "last": metrics(miou, evaluated),
            "best": metrics(miou + 0.001, evaluated),
            "protocols": protocols,
        },
        "training_images": images,
        "annotate": None,
        "config": json.loads(config.to_json(portable(settings))),
        **other,
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    lines = [
        {"iteration": i, "accuracy_prediction": miou, "accuracy_pseudo": miou + 0.1,
         "miou_prediction": miou - 0.1, "miou_pseudo": miou - 0.02 * (i == 50)}
        for i in (50, settings.iterations - 1, settings.iterations)
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "history.jsonl").write_text(text, encoding="utf-8")
    return result


def write_cost(folder, id, change=lambda options: options):
    """Writes the costs that ``tel run`` measures for a network, except for ``change``."""
    experiment = find(id)
    settings = change(
        dataclasses.replace(resolve(experiment), batch=4, accumulate=4, output=folder)
    )
    cost = {
        "preset": experiment.run, "device": "some GPU", "batch": 4, "amp": "fp16",
        "recipe": "official", "config": json.loads(config.to_json(portable(settings))),
        "rows": [
            {"seconds": s, "time_ratio": s, "peak_mb": 1000 * s, "peak_ratio": s}
            for s in (1.0, 1.01, 1.02)
        ],
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "cost.json").write_text(json.dumps(cost), encoding="utf-8")


def rows(folder, name):
    ours, _ = sorted_out(find_records([folder]))
    head, *body = accuracy_table(name, ours)
    return {row[0]: dict(zip(head, row, strict=True)) for row in body if row[0]}


def test_ours_stand_in_their_rows_and_nowhere_else(tmp_path):
    write(tmp_path / "a", "t1.scribble.dlv3p.tel", 0.75, seed=1)
    write(tmp_path / "b", "t1.scribble.dlv3p.tel", 0.77, seed=2)
    write(tmp_path / "c", "t6.tau.0.5", 0.10)
    table = rows(tmp_path, "T1")
    row = table.pop("t1.scribble.dlv3p.tel")
    assert (row["paper"], row["README"], row["seeds"]) == ("77.1", "77.6", "2")
    assert row["ours"] == "76.0 / 76.1"
    assert row["ours, ss"] == "77.0 / 77.1"
    assert row["ours, msf"] == "78.0 / 78.1"
    assert row["ours, official"] == "79.0 / 79.1"
    for other in table.values():
        assert other["paper"]
        assert not any(other[name] for name in other if name.startswith(("ours", "seeds", "rec")))
    # A run that several tables share is in each of them.
    shared = rows(tmp_path, "T3")
    filled = {id for id, row in shared.items() if row["ours"]}
    assert filled == {"t3a.l1", "t3b.both", "t3d.lhc", "t3e.lambda.0.4", "t3f.sigma.0.02"}
    assert {id for id, row in rows(tmp_path, "T6").items() if row["ours"]} == {"t6.tau.0.5"}


def test_recipes_have_rows_of_their_own(tmp_path):
    write(tmp_path / "a", "t1.full.ltf", 0.80)
    write(tmp_path / "b", "t1.full.ltf", 0.79, recipe="paper")
    ours, _ = sorted_out(find_records([tmp_path]))
    found = [row for row in accuracy_table("T1", ours) if row[0] == "t1.full.ltf"]
    assert [(row[8], row[4]) for row in found] == [
        ("official", "80.0 / 80.1"), ("paper", "79.0 / 79.1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "total", "what"),
    [
        (lambda o: dataclasses.replace(o, iterations=9), None, "iterations: 9 instead of 80000"),
        (lambda o: o, 8, "total batch: 8 instead of 16"),
        (
            lambda o: dataclasses.replace(o, model=config.Model("tiny")),
            None,
            "model.name: tiny instead of resnet101s",
        ),
        (
            lambda o: dataclasses.replace(o, loss=dataclasses.replace(o.loss, weight=0.7)),
            None,
            "loss.weight: 0.7 instead of 0.4",
        ),
        (
            lambda o: dataclasses.replace(o, data=dataclasses.replace(o.data, source="ade20k:x")),
            None,
            "data.source: ade20k instead of voc",
        ),
    ],
)
def test_a_run_with_other_settings_is_in_no_table(tmp_path, change, total, what):
    result = write(tmp_path / "a", "t1.scribble.dlv3p.tel", 0.75, change=change, total=total)
    assert what in deviations(result)
    assert not any(row["ours"] for row in rows(tmp_path, "T1").values())
    output = tmp_path / "page.html"
    report(Report((tmp_path,), output, markdown=tmp_path / "page.md", paper=True))
    for text in (output.read_text("utf-8"), (tmp_path / "page.md").read_text("utf-8")):
        assert "Runs with other settings" in text
        assert what in text


def evaluated(evaluation, where, images):
    """The record's evaluation with other numbers of images."""
    changed = json.loads(json.dumps(evaluation))
    part = changed if where == "last" else changed["protocols"][where]
    part["last"]["images"] = images
    return changed


@pytest.mark.parametrize(
    ("id", "other", "what"),
    [
        ("t1.point.dlv3p.tel", {"training_images": 2}, "training images: 2 instead of 10582"),
        ("t2.cs.hrnet.b20.tel", {"training_images": 500}, "training images: 500 instead of 2975"),
        ("t2.ade.hrnet.b20.tel", {"training_images": 2975},
         "training images: 2975 instead of 20210"),
        ("t1.full.ltf", {"training_images": None}, "training images: None instead of 10582"),
        ("t1.full.ltf", "last", "evaluated images: 100 instead of 1449"),
        ("t2.cs.hrnet.b20.tel", "ss", "evaluated images: 100 instead of 500"),
        ("t2.ade.hrnet.b20.tel", "msf", "evaluated images: 100 instead of 2000"),
    ],
)  # fmt: skip
def test_a_run_on_a_part_of_the_data_is_in_no_table(tmp_path, id, other, what):
    whole = write(tmp_path / "whole", id, 0.75)
    assert deviations(whole) == []
    if isinstance(other, str):
        other = {"evaluation": evaluated(whole["evaluation"], other, 100)}
    assert deviations(write(tmp_path / "part", id, 0.75, seed=2, **other)) == [what]
    (row,) = [row for row in rows(tmp_path, id[:2].upper()).values() if row["ours"]]
    assert (row["id"], row["seeds"]) == (id, "1")


def test_what_was_evaluated_is_the_validation_set(tmp_path):
    result = write(tmp_path / "a", "t1.full.ltf", 0.75)
    evaluation = {**result["evaluation"], "split": "train"}
    assert deviations({**result, "evaluation": evaluation}) == ["evaluation: not on val"]


@pytest.mark.parametrize(
    ("id", "ignore", "encoding", "what"),
    [
        ("t1.scribble.dlv3p.tel", (21, 15, 0), "auto", ["15, which is person",
                                                        "0, which is background"]),
        ("t1.scribble.dlv3p.tel", (21, 254), "auto", []),
        ("t2.cs.hrnet.b20.tel", (19, 34, 6), "auto", ["19, which is traffic light"]),
        ("t2.cs.hrnet.b20.tel", (19, 18), "trainIds", ["18, which is bicycle"]),
        ("t2.ade.hrnet.b20.tel", (0, 255, 150), "auto", ["150, which is flag"]),
    ],
)  # fmt: skip
def test_a_class_that_is_ignored_makes_another_run(tmp_path, id, ignore, encoding, what):
    def change(options):
        data = dataclasses.replace(options.data, ignore=ignore, encoding=encoding)
        return dataclasses.replace(options, data=data)

    result = write(tmp_path / "a", id, 0.75, change=change)
    assert deviations(result) == [f"data.ignore: {each}" for each in what]


BLOCKS = {"kind": "block", "split": "train", "ratio": 0.2, "scope": "component", "seed": 0}


def test_annotations_of_our_own_are_said_to_be_so(tmp_path):
    """The published generator is not available: such runs count, but in rows of their own."""
    id = "t2.cs.hrnet.b20.tel"
    write(tmp_path / "a", id, 0.60)
    write(tmp_path / "b", id, 0.70, seed=1, annotate=BLOCKS)
    write(tmp_path / "c", id, 0.72, seed=2, annotate=BLOCKS)
    ours, other = sorted_out(find_records([tmp_path]))
    assert other == []
    head, *body = accuracy_table("T2", ours)
    found = [dict(zip(head, row, strict=True)) for row in body if row[0] == id]
    assert [(row["ours"], row["seeds"]) for row in found] == [
        ("60.0 / 60.1", "1"), ("71.0 / 71.1", "2"),
    ]  # fmt: skip
    assert found[0]["annotations"] == ""
    assert found[1]["annotations"] == (
        "tel annotate: kind block, split train, ratio 0.2, scope component, seed 0"
    )
    output, md = tmp_path / "page.html", tmp_path / "page.md"
    report(Report((tmp_path,), output, markdown=md, paper=True))
    for page in (output, md):
        assert found[1]["annotations"] in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("made", "what"),
    [
        ({**BLOCKS, "ratio": 0.5}, "annotations: block50 instead of block20"),
        ({"kind": "scribble", "width": 3}, "annotations: scribble instead of block20"),
    ],
)
def test_annotations_under_the_name_of_others(tmp_path, made, what):
    assert deviations(write(tmp_path / "a", "t2.cs.hrnet.b20.tel", 0.6, annotate=made)) == [what]


def test_ignored_numbers_of_annotations_of_our_own_are_in_their_encoding(tmp_path):
    def change(options):
        return dataclasses.replace(options, data=dataclasses.replace(options.data, ignore=(19,)))

    made = {**BLOCKS, "encoding": "trainIds"}
    assert deviations(write(tmp_path / "a", "t2.cs.hrnet.b20.tel", 0.6, annotate=made,
                            change=change)) == []  # fmt: skip


def test_devices_and_folders_make_no_other_run(tmp_path):
    def change(options):
        return dataclasses.replace(options, device="cpu", amp="off", threads=3, tensorboard=False)

    assert deviations(write(tmp_path / "a", "t2.cs.hrnet.b20.tel", 0.6, change=change)) == []


def test_the_page(tmp_path):
    write(tmp_path / "a", "t1.scribble.dlv3p.tel", 0.75)
    write(tmp_path / "b", "t2.cs.hrnet.b20.tel", 0.65)
    (tmp_path / "a" / "panels").mkdir()
    Image.new("RGB", (60, 20)).save(tmp_path / "a" / "panels" / "2007_000032.png")
    write_cost(tmp_path / "cost", "t4.dlv3p.both")
    output, md = tmp_path / "page.html", tmp_path / "page.md"
    assert cli.main(
        ["report", str(tmp_path), "--paper", "--output", str(output), "--markdown", str(md)]
    ) == 0  # fmt: skip
    page, tables = output.read_text(encoding="utf-8"), md.read_text(encoding="utf-8")
    for text in (page, tables):
        for id in experiments():
            assert id in text or id[0] == "f"
        for quoted in ("SPML", "A2GNN", "ScribbleSup"):
            assert quoted in text
        assert "75.0 / 75.1" in text
    assert "http" not in re.sub(r"http-equiv|http://www\.w3\.org/\S+", "", page)
    assert page.count("data:image/png;base64,") == 2  # in Fig. 5 and in Fig. 6
    assert "Not run (<code>tel run t1.scribble.dlv3p.baseline</code>)" in page
    assert "Not run: <code>tel run t2.cs.hrnet.b20.baseline</code>" in page
    assert page.count("<svg") == 2
    line = next(line for line in tables.splitlines() if line.startswith("| t4.dlv3p.both"))
    assert [x.strip() for x in line.split("|")][3:8] == ["34.78", "1.059", "1020", "1.020",
                                                         "some GPU"]  # fmt: skip
    line = next(line for line in tables.splitlines() if line.startswith("| t5.ltf.both"))
    assert [x.strip() for x in line.split("|")][3:7] == ["12.7", "1.085", "", ""]


def test_the_curves_in_numbers(tmp_path):
    """Fig. 7: TEL minus baseline at the end, beside the paper's values; blank without runs."""

    def table():
        ours, _ = sorted_out(find_records([tmp_path]))
        return [row[2:] for row in curves_table(ours)[1:]]

    write(tmp_path / "a", "t2.cs.hrnet.b20.tel", 0.65)
    assert table() == [["+5.6", "", ""], ["+7.3", "", ""]]
    write(tmp_path / "b", "t2.cs.hrnet.b20.baseline", 0.60)
    assert table() == [["+5.6", "+5.0", "+5.0"], ["+7.3", "+15.0", "+15.0"]]
    # A run with blocks of tel annotate has no baseline with the same blocks.
    write(tmp_path / "c", "t2.cs.hrnet.b20.tel", 0.9, seed=1, annotate=BLOCKS)
    assert table() == [["+5.6", "+5.0", "+5.0"], ["+7.3", "+15.0", "+15.0"]]
    shutil.rmtree(tmp_path / "a")
    assert table() == [["+5.6", "", ""], ["+7.3", "", ""]]
    shutil.rmtree(tmp_path / "c")
    write(tmp_path / "a", "t2.cs.hrnet.b20.tel", 0.65)
    output, md = tmp_path / "page.html", tmp_path / "page.md"
    report(Report((tmp_path,), output, markdown=md, paper=True))
    assert "| f7.tel | TEL's soft label | +7.3 | +15.0 | +15.0 |" in md.read_text(encoding="utf-8")
    assert "+15.0" in output.read_text(encoding="utf-8")


def test_test_numbers_are_the_servers(tmp_path):
    """In Tab. 7, our results are marked as val; the row with CRF does not show those without."""
    write(tmp_path / "a", "t7.dlv2.tel", 0.70)
    table = rows(tmp_path, "T7")
    assert table["t7.dlv2.tel"]["ours (val)"] == "70.0 / 70.1"
    assert table["t7.dlv2.tel_crf"]["ours (val)"] == ""


def test_costs_alone_are_a_report(tmp_path):
    (tmp_path / "cost.json").write_text('{"preset": "cost.ltf"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"cost\.json must be what tel run writes"):
        report(Report((tmp_path,), tmp_path / "page.html", paper=True))
    write_cost(tmp_path, "t5.ltf.low")
    report(Report((tmp_path,), tmp_path / "page.html", paper=True))
    assert "some GPU" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model": config.Model("tiny")}, "model.name: tiny instead of resnet101s"),
        ({"data": config.Data(crop=(64, 64))}, "data.crop: [64, 64] instead of [512, 512]"),
    ],
)
def test_the_cost_of_another_network_or_size_is_in_no_table(tmp_path, change, what):
    write_cost(tmp_path, "t4.dlv3p.both", lambda options: dataclasses.replace(options, **change))
    output, md = tmp_path / "page.html", tmp_path / "page.md"
    report(Report((tmp_path,), output, markdown=md, paper=True))
    for page in (output, md):
        text = page.read_text(encoding="utf-8")
        assert "some GPU" not in text
        assert "Runs with other settings" in text
        assert what in text


def test_a_record_of_no_experiment_is_named(tmp_path):
    write(tmp_path / "a", "t1.full.ltf", 0.8,
          change=lambda o: dataclasses.replace(o, paper_id="t0"))  # fmt: skip
    with pytest.raises(ValueError, match=r"a: paper_id must be an experiment's, got 't0'"):
        report(Report((tmp_path,), tmp_path / "page.html", paper=True))
