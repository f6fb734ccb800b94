"""``tel run`` on miniatures of the data sets: every experiment trains, evaluates, records."""

import json
import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tel_crf
import tel_miniatures
import tel_runs
import tel_voc
import torch
from PIL import Image
from tel_folders import HEAD, bands, write_image, write_label
from tel_miniatures import tiny

from tel_segmentation import cli, config
from tel_segmentation.commands import cost, predict, run
from tel_segmentation.commands.annotate import Annotate
from tel_segmentation.commands.annotate import run as annotate
from tel_segmentation.commands.run import Run
from tel_segmentation.data.datasets.voc import Voc
from tel_segmentation.data.folder import Folder
from tel_segmentation.paper import needs, recipes
from tel_segmentation.paper.experiments import experiments, find, resolve
from tel_segmentation.paper.sameness import cost_deviations, deviations
from tel_segmentation.training import engine
from tel_segmentation.training.record import annotate_options
from tel_segmentation.training.tracking import read_history


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tel_miniatures.data_root(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of all experiments' runs, in which those that share a run find it."""
    return tmp_path_factory.mktemp("runs")


def ids(*kinds):
    return [each.id for each in experiments().values() if each.kind in kinds]


@pytest.mark.parametrize("id", ids("train", "panels", "curves", "test"))
def test_every_experiment(id, root, runs, capsys, monkeypatch):
    tel_crf.install(monkeypatch, lambda energy: np.eye(21)[:, [20]].repeat(energy.shape[1], 1))
    experiment = find(id)
    assert run.run(tiny(id, root, runs)) == 0
    assert re.search(f"^{id}: mIoU on val: .* ss ", capsys.readouterr().out, re.MULTILINE)
    folder = runs / f"{experiment.run}-tiny-s304"
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert record["paper"] == {"id": experiment.run, "recipe": "official"}
    lines = [x for x in read_history(folder / "history.jsonl") if "loss" in x]
    assert lines[-1]["iteration"] == 2
    assert all(math.isfinite(line["loss"]) for line in lines)
    evaluation = record["evaluation"]
    ss = evaluation["protocols"]["ss"]
    for metrics in (evaluation["last"], evaluation["best"], ss["last"], ss["best"]):
        assert 0 <= metrics["miou"] <= 1
    classes = {"voc": 21, "cs": 19, "ade": 150}[experiment.dataset]
    assert len(record["classes"]) == classes
    assert record["training_images"] == (4 if classes == 21 else 3)
    assert record["annotate"] is None
    sparse = config.load(folder / "config.json").data.annotation != "dense"
    assert (0 < record["labelled_ratio"] < 0.7) == sparse
    assert (experiment.kind != "panels") or any((folder / "panels").iterdir())
    if experiment.kind == "test":
        tree = folder / ("voc-test-crf" if experiment.crf else "voc-test")
        (file,) = (path for path in tree.rglob("*") if path.is_file())
        with Image.open(file) as picture:
            values = np.asarray(picture)
        assert experiment.crf == (values == 20).all()  # the result of the stand-in library


@pytest.mark.parametrize("id", ids("cost"))
def test_every_cost(id, root, runs, monkeypatch):
    monkeypatch.setattr(cost, "_memory", lambda plan, options, classes: (100.0, 200.0))
    experiment = find(id)
    assert run.run(tiny(id, root, runs)) == 0
    result = json.loads((runs / f"{experiment.run}-tiny-s304/cost.json").read_text("utf-8"))
    assert result["preset"] == experiment.run
    assert len(result["rows"]) == 3
    assert all(math.isfinite(row["seconds"]) for row in result["rows"])


@pytest.mark.parametrize("id", ids("test"))
def test_the_server_gets_seven_scales_and_flip(id, root, runs, monkeypatch):
    tel_crf.install(monkeypatch, lambda energy: np.exp(-energy))
    seen = []

    def logits(model, images, evaluation, size):
        seen.append((evaluation.protocol, evaluation.scales, evaluation.flip, size))
        return torch.zeros(1, 21, *size)

    run.run(tiny(id, root, runs))
    monkeypatch.setattr(predict, "predict_logits", logits)
    run.run(tiny(id, root, runs))
    scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    assert seen == [("native", scales, True, tel_voc.SIZE[::-1])]


@pytest.mark.parametrize(
    ("id", "backbone", "recipe"),
    [
        ("t1.scribble.dlv3p.tel", "resnet18", "official"),
        ("t1.scribble.ltf.tel", "resnet18", "paper"),
        ("t2.cs.hrnet.b20.tel", "hrnet_w18_small", "official"),
        ("t7.dlv2.tel", "resnet26", "paper"),
    ],
)
def test_the_papers_networks_on_small_backbones(id, backbone, recipe, root, tmp_path):
    options = tiny(id, root, tmp_path, backbone=backbone, recipe=recipe)
    settings = run.plan(options, find(id))
    assert settings.model.network == resolve(find(id)).model.network
    assert settings.model.bgr == (recipe == "official")
    result = engine.train(settings)
    assert math.isfinite(read_history(settings.output / "history.jsonl")[-1]["evaluation"]["miou"])
    assert result["paper"] == {"id": id, "recipe": recipe}


def test_annotations_with_other_numbers(tmp_path):
    """Annotations as others publish them: trainIds, with 19 for no label."""
    root = tel_miniatures.data_root(tmp_path / "data")
    for file in (root / "cityscapes/train/sparse_label/block20").iterdir():
        write_label(file, np.where(np.arange(40) < 9, 13, 19)[None].repeat(24, 0))
    options = tiny("t2.cs.hrnet.b20.tel", root, tmp_path / "runs")
    with pytest.raises(ValueError, match="must have the values 0…18"):
        run.run(replace(options, encoding="trainIds"))
    options = replace(options, encoding="trainIds", ignore=(19,), output=tmp_path / "others")
    assert run.run(options) == 0
    (file,) = (tmp_path / "others").glob("*/result.json")
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["labelled_ratio"] == pytest.approx(9 / 40)
    assert not [text for text in deviations(result) if "ignore" in text or "encoding" in text]
    with pytest.raises(ValueError, match=r"data\.ignore: \[19\] instead of \[\]"):
        run.run(replace(options, ignore=()))


def test_the_record_knows_annotations_of_our_own(tmp_path):
    root = tel_miniatures.data_root(tmp_path / "data")
    shutil.rmtree(root / "ADEChallengeData2016/annotations/block20")
    annotate(Annotate(f"ade20k:{root / 'ADEChallengeData2016'}", kind="block", border=True))
    assert run.run(tiny("t2.ade.hrnet.b20.tel", root, tmp_path / "runs")) == 0
    (file,) = (tmp_path / "runs").glob("*/result.json")
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["annotate"] == {
        "kind": "block", "split": "train", "ratio": 0.2, "scope": "component", "metric": "edt",
        "border": True, "ties": "hash", "seed": 0, "encoding": "ade20k",
    }  # fmt: skip
    assert "training images: 3 instead of 20210" in deviations(result)
    assert "evaluated images: 3 instead of 2000" in deviations(result)


def test_a_record_outlives_another_programs_manifest(tmp_path):
    """Label maps of Pascal VOC and of folders are also recognised by their manifest."""
    source = tmp_path / "dataset.toml"
    source.write_text(HEAD)
    write_image(tmp_path / "train/images/a.png")
    write_label(tmp_path / "train/labels/a.png", bands())
    assert annotate_options(Folder(source, "train", "dense")) is None
    annotate(Annotate(str(source), kind="scribble", width=5))
    made = Folder(source, "train", "scribble")
    options = {"kind": "scribble", "split": "train", "width": 5, "seed": 0}
    assert annotate_options(made) == options
    tel_miniatures.voc(tmp_path / "voc")
    annotate(Annotate(f"voc:{tmp_path / 'voc'}", kind="scribble", width=5))
    data = config.Data(annotation=str(tmp_path / "voc/annotations/scribble"))
    maps = Voc(tmp_path / "voc", "train", data)
    assert annotate_options(maps) == {**options, "encoding": "class numbers"}
    assert annotate_options(Voc(tmp_path / "voc", "train", config.Data(annotation="point"))) is None
    (tmp_path / "annotations/scribble/train/manifest.json").write_text("[1]")
    assert annotate_options(made) is None


@pytest.mark.parametrize(
    ("id", "trained", "scales"),
    [
        ("t1.scribble.dlv3p.tel", "squash", 7),
        ("t2.cs.dlv3p.b20.tel", "native", 1),
        ("t2.ade.dlv3p.b20.tel", "short-side", 1),
    ],
)
def test_every_protocol_of_every_data_set(id, trained, scales, root, tmp_path):
    assert run.run(tiny(id, root, tmp_path, protocols=None)) == 0
    (file,) = tmp_path.glob("*/result.json")
    evaluation = json.loads(file.read_text(encoding="utf-8"))["evaluation"]
    assert evaluation["last"]["protocol"]["protocol"] == trained
    assert set(evaluation["protocols"]) == {"ss", "msf", "official"}
    official = evaluation["protocols"]["official"]["best"]["protocol"]
    assert official["protocol"] == trained
    assert (len(official["scales"]), official["flip"]) == (scales, scales == 7)


def test_a_rehearsal_takes_minutes_not_hours(root, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "TINY_IMAGES", 2)
    assert run.run(tiny("t7.dlv2.tel", root, tmp_path, protocols=("ss",))) == 0
    (file,) = tmp_path.glob("*/result.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["training_images"] == 2
    evaluation = record["evaluation"]
    each = (evaluation["last"], evaluation["best"], evaluation["protocols"]["ss"]["last"])
    assert [metrics["images"] for metrics in each] == [2] * 3


def test_a_run_that_is_there_goes_on_or_is_done(root, tmp_path, capsys, monkeypatch):
    options = tiny("t1.point.dlv3p.tel", root, tmp_path)
    monkeypatch.setattr(run, "train", lambda settings, resume: pytest.fail("trained twice"))
    with pytest.raises(pytest.fail.Exception):
        run.run(options)
    monkeypatch.undo()
    assert run.run(options) == 0
    assert "t1.point.dlv3p.tel: mIoU on val" in capsys.readouterr().out
    result = next(tmp_path.glob("*/result.json"))
    written = result.stat().st_mtime_ns
    assert run.run(options) == 0
    assert result.stat().st_mtime_ns == written
    assert "paper 64.9, README 65.4" in capsys.readouterr().out
    result.unlink()  # as if it had been killed before its end
    assert run.run(replace(options, per_process_batch=1)) == 0
    assert json.loads(result.read_text())["batch"]["accumulate"] == 2


def test_experiments_that_share_a_run_are_trained_once(root, tmp_path):
    assert run.run(tiny("t3a.l1", root, tmp_path)) == 0
    (folder,) = tmp_path.iterdir()
    assert folder.name == "t1.scribble.dlv3p.tel-tiny-s304"
    assert run.run(tiny("t3e.lambda.0.4", root, tmp_path)) == 0
    assert run.run(tiny("f5", root, tmp_path)) == 0
    assert list(tmp_path.iterdir()) == [folder]


def test_another_run_in_the_folder_is_named(root, tmp_path):
    options = tiny("t1.point.dlv3p.tel", root, tmp_path)
    settings = run.plan(options, find(options.id))
    settings.output.mkdir(parents=True)
    other = replace(settings, optimizer=replace(settings.optimizer, lr=0.5))
    (settings.output / "config.json").write_text(config.to_json(other), encoding="utf-8")
    with pytest.raises(ValueError, match=r"optimizer\.lr: 0\.5 instead of 0\.001"):
        run.run(options)


def test_test_images_for_the_voc_server(root, tmp_path):
    assert run.run(tiny("t7.dlv2.tel", root, tmp_path)) == 0
    (tree,) = tmp_path.glob("*/voc-test")
    files = [path.relative_to(tree) for path in tree.rglob("*") if path.is_file()]
    (name,) = tel_voc.VOC_TEST
    assert list(map(str, files)) == [f"results/VOC2012/Segmentation/comp6_test_cls/{name}.png"]
    with Image.open(tree / files[0]) as picture:
        assert picture.mode == "P"
        assert picture.size == tel_voc.SIZE
        assert np.asarray(picture).max() <= 20
        assert picture.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
        assert picture.getpalette()[-3:] == [224, 224, 192]


@pytest.mark.parametrize("network", ["dlv3p", "ltf"])
def test_memory_and_time_are_measured_together(network, root, tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "_memory", lambda plan, options, classes: (100.0, 200.0))
    assert run.run(tiny(f"t4.{network}.low", root, tmp_path)) == 0
    (file,) = tmp_path.glob("*/cost.json")
    result = json.loads(file.read_text(encoding="utf-8"))
    assert file.parent.name == f"cost.{network}-tiny-s304"
    assert "model.name: tiny instead of resnet101s" in cost_deviations(result)
    assert [row["method"] for row in result["rows"]] == ["partial CE", "TEL low", "TEL low+high"]
    assert result["rows"][2]["peak_ratio"] == 1
    written = file.stat().st_mtime_ns
    assert run.run(tiny(f"t5.{network}.both", root, tmp_path)) == 0
    assert file.stat().st_mtime_ns == written
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"t4\..*\.low must be run by one process, got 2"):
        run.run(tiny(f"t4.{network}.low", root, tmp_path))


def test_two_processes_divide_the_batch(root, tmp_path):
    done = tel_runs.two_processes(
        "run", "t1.scribble.dlv3p.tel", "--tiny", "--data-root", root,
        "--output", tmp_path / "runs", "--protocols", "ss",
        "--per-process-batch", "1", "--device", "cpu", "--threads", "1", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("runs/*/result.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["batch"] == {
        "total": 4, "processes": 2, "per_process": 1, "accumulate": 2, "normalised_together": 2,
    }  # fmt: skip
    assert done.stdout.count("mIoU on val") == 1


def test_what_is_missing_is_named(tmp_path, root):
    options = Run("t2.cs.hrnet.b20.tel", data_root=tmp_path)
    with pytest.raises(ValueError, match=r"Cityscapes must be in .*cityscapes, got no such folder"):
        run.run(options)
    options = replace(options, data_root=root)
    file = root / "pretrained" / "hrnetv2_w48_imagenet_pretrained.pth"
    with pytest.raises(ValueError, match=str(file)):
        run.run(options)
    with pytest.raises(ValueError, match=r"mine\.pth, got no such file"):
        run.run(replace(options, weights="mine.pth"))
    with pytest.raises(ValueError, match=r"id must be one of .*, got 't9'.* similar ids: "):
        run.run(Run("t9"))
    with pytest.raises(ValueError, match=r"similar ids: t3e\.lambda\.0\.1, t3e"):
        run.run(Run("t3e.lambda.0.7"))


def test_weights_of_the_data_root(root, tmp_path):
    (tmp_path / "pretrained").mkdir()
    file = tmp_path / "pretrained" / "resnet101-imagenet.pth"
    file.touch()
    assert needs.weights(file.name, None, tmp_path) == str(file)
    assert needs.weights(file.name, str(file.parent), root) == str(file)
    assert needs.weights(file.name, "none", root) == "none"
    timm = Run("t1.full.dlv3p", data_root=root, weights="timm", output=tmp_path)
    assert run.plan(timm, find(timm.id)).model.bgr is False


def test_the_command(root, tmp_path, capsys):
    arguments = ["run", "t3b.low", "--tiny", "--data-root", str(root), "--protocols", "ss"]
    arguments += ["--output", str(tmp_path), "--device", "cpu", "--threads", "1"]
    assert cli.main(arguments) == 0
    assert "paper 76.3" in capsys.readouterr().out
    assert cli.main(["run", "t3b.middle"]) == 2
    assert "t3b.low" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("processes", "per_process", "batch", "accumulate"),
    [
        (1, None, 4, 4),
        (4, None, 4, 1),
        (8, None, 2, 1),
        (16, None, 1, 1),
        (2, 8, 8, 1),
        (1, 2, 2, 8),
    ],
)
def test_the_total_batch_stays(processes, per_process, batch, accumulate):
    options = recipes.divided(recipes.resolve("voc", "dlv3p"), processes, per_process)
    assert (options.batch, options.accumulate) == (batch, accumulate)
    assert options.batch * options.accumulate * processes == 16


def test_batches_that_cannot_be_divided():
    options = recipes.resolve("voc", "dlv3p")
    with pytest.raises(ValueError, match="processes must divide the total batch of 16, got 3"):
        recipes.divided(options, 3)
    with pytest.raises(ValueError, match=r"per-process-batch must divide 8, .*, got 3"):
        recipes.divided(options, 2, 3)
