import dataclasses
import json

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tel_segmentation import config
from tel_segmentation.commands import evaluate
from tel_segmentation.commands.evaluate import Evaluate
from tel_segmentation.data.sample import Sample
from tel_segmentation.evaluation import trained
from tel_segmentation.evaluation.evaluate_model import evaluate_model
from tel_segmentation.evaluation.metrics import ConfusionMatrix
from tel_segmentation.evaluation.protocols import predict_logits

CLASSES = ("dark", "bright")
COLORS = ((10, 20, 30), (200, 210, 220))


class Brightness(nn.Module):
    """A model of two classes, dark and bright, with full-resolution logits as in eval mode."""

    def __init__(self, classes=2, embed=True):
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.0))
        self.classes = classes
        if embed:
            self.embedding = nn.Parameter(torch.zeros(3))
        self.sizes = []

    def forward(self, x):
        assert not self.training
        self.sizes.append(tuple(x.shape[-2:]))
        bright = x.mean(1) - self.threshold
        rest = [torch.full_like(bright, -50.0)] * (self.classes - 2)
        return torch.stack([-bright, bright, *rest], 1)


class Made:
    """A source with images of noise; some pixels have wrong labels, some none."""

    classes, colors = CLASSES, COLORS

    def __init__(self, sizes, seed=0, truth_sizes=None):
        generator = torch.Generator().manual_seed(seed)
        self.samples = []
        for index, size in enumerate(sizes):
            image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
            other = (truth_sizes or sizes)[index]
            truth = torch.randint(-1, 2, other, generator=generator)
            self.samples.append(Sample(f"n{index}", image, truth.clone(), truth))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


SIZES = [(32, 40), (32, 40), (33, 47), (32, 40), (32, 40), (32, 40), (50, 32)]


def options(**more):
    return {"device": "cpu", "batch": 2, "boundary": 2, "progress": False} | more


def test_equals_one_image_at_a_time():
    source, model = Made(SIZES), Brightness().eval()
    expected = ConfusionMatrix(2)
    source.samples[2].truth.fill_(-1)
    alone = []
    for sample in source.samples:
        image = ConfusionMatrix(2)
        image.update(predict_logits(model, sample.image[None]).argmax(1)[0], sample.truth)
        alone.append(image.miou())
        expected.merge(image)
    for batch in (1, 2, 16):
        metrics = evaluate_model(model, source, **options(batch=batch))
        assert metrics["iou"] == expected.iou()
        assert metrics["miou"] == expected.miou()
        assert metrics["accuracy"] == expected.accuracy()
        assert 0 < metrics["boundary_miou"] < 1
        assert metrics["images"] == len(SIZES)
        assert metrics["confusion"] == expected.counts.tolist()
        assert metrics["image_miou"] == alone
    assert alone[2] is None
    json.dumps(metrics)


def test_truth_of_the_network_is_perfect_and_the_mode_is_restored():
    source, model = Made([(32, 32)]), Brightness().train()
    with torch.no_grad():
        model.eval()
        truth = predict_logits(model, source[0].image[None]).argmax(1)[0]
        model.train()
    source.samples[0] = source[0]._replace(truth=truth)
    metrics = evaluate_model(model, source, **options())
    assert metrics["miou"] == metrics["accuracy"] == metrics["boundary_miou"] == 1.0
    assert model.training


def test_parts_of_several_processes_are_the_whole(monkeypatch):
    """Each image is counted once, even if the number of processes does not divide theirs."""
    source, model = Made(SIZES), Brightness().eval()
    whole = evaluate_model(model, source, **options())
    counted = []
    monkeypatch.setattr(ConfusionMatrix, "all_reduce", lambda self: counted.append(self.counts))
    for rank in range(3):
        evaluate_model(model, source, **options(rank=rank, world=3))
    matrix = ConfusionMatrix(2)
    matrix.counts = sum(counted[::2])
    assert matrix.iou() == whole["iou"]
    assert matrix.counts.sum() == sum((sample.truth >= 0).sum() for sample in source.samples)


def _process(rank, world, folder):
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
    metrics = evaluate_model(Brightness().eval(), Made(SIZES), **options(rank=rank, world=world))
    (folder / f"{rank}.json").write_text(json.dumps(metrics))
    dist.destroy_process_group()


def test_two_processes(tmp_path):
    # Forked processes need no second import of torch; each has one thread.
    torch.multiprocessing.start_processes(_process, (2, tmp_path), 2, start_method="fork")
    results = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert results[0] == results[1] == evaluate_model(Brightness(), Made(SIZES), **options())


def test_scales_and_flip():
    model = Brightness().eval()
    images = Made([(40, 60)])[0].image[None]
    single = predict_logits(model, images)
    assert torch.allclose(
        predict_logits(model, images, config.Evaluation(flip=True)), single, atol=1e-6
    )
    model.sizes.clear()
    multi = predict_logits(model, images, config.Evaluation(scales=(0.5, 1.0, 2.0)), (80, 90))
    assert multi.shape == (1, 2, 80, 90)
    assert model.sizes == [(32, 32), (40, 60), (80, 120)]  # never below 32
    with pytest.raises(ValueError, match="scales must be positive"):
        predict_logits(model, images, config.Evaluation(scales=()))
    with pytest.raises(ValueError, match="images must be"):
        predict_logits(model, images.float())


def test_truth_of_another_size():
    source = Made([(32, 32)] * 3, truth_sizes=[(64, 64), (48, 40), (48, 40)])
    metrics = evaluate_model(Brightness(), source, **options())
    assert 0 < metrics["miou"] < 1


def test_postprocess_sees_bytes_and_probabilities():
    seen = []

    def invert(image, probabilities):
        seen.append((image.dtype, tuple(image.shape), tuple(probabilities.shape)))
        assert torch.allclose(probabilities.sum(0), torch.ones(()))
        return probabilities.flip(0)

    source = Made([(32, 32)] * 2, truth_sizes=[(64, 64)] * 2)
    plain = evaluate_model(Brightness(), source, **options())
    turned = evaluate_model(Brightness(), source, **options(postprocess=invert))
    assert turned["accuracy"] == pytest.approx(1 - plain["accuracy"])
    assert seen == [(torch.uint8, (3, 64, 64), (2, 64, 64))] * 2


def save(path, model, **more):
    values = {
        "model": model.state_dict(),
        "ema": None,
        "config": config.to_json(
            config.Train(optimizer=config.Optimizer(ema=0.9 if more.get("ema") else 0.0))
        ),
        "classes": list(CLASSES),
        "colors": [list(color) for color in COLORS],
        "iteration": 7,
    } | more
    torch.save({key: value for key, value in values.items() if value != "absent"}, path)


@pytest.fixture
def opened(monkeypatch):
    """Replaces the command's network and data set; returns which data it opened."""
    calls = []

    def open_source(data, split, seed):
        calls.append((data, split, seed))
        return Made(SIZES) if data.size is None else Made([data.size] * len(SIZES))

    monkeypatch.setattr(evaluate, "open_source", open_source)
    monkeypatch.setattr(
        trained, "build_model", lambda options, classes, embed=True: Brightness(classes, embed)
    )
    return calls


@pytest.mark.parametrize("embed", [True, False])
def test_command(tmp_path, opened, capsys, embed):
    save(tmp_path / "last.pt", Brightness(embed=embed))
    result = evaluate.run(Evaluate(tmp_path, split="test"))
    expected = evaluate_model(Brightness(), Made(SIZES), **options(boundary=3))
    assert result["miou"] == expected["miou"]
    data, split, seed = opened[0]
    assert (data.annotation, split, seed) == ("dense", "test", 0)
    assert json.loads((tmp_path / "evaluation-test-last.json").read_text()) == result
    assert list(tmp_path.glob(".*")) == []
    printed = capsys.readouterr().out
    assert f"mIoU           {100 * expected['miou']:6.2f}" in printed
    assert "bright" in printed


@pytest.mark.parametrize("wrap", [lambda model: model, AveragedModel])
def test_command_uses_best_and_ema(tmp_path, opened, wrap):
    better = Brightness()
    better.threshold.data.fill_(3.0)
    save(tmp_path / "last.pt", Brightness(), ema=wrap(better).state_dict())
    save(tmp_path / "best.pt", better)
    raw, best, last = (
        evaluate.run(Evaluate(tmp_path, which=which))["accuracy"]
        for which in ("raw", "best", "last")
    )
    assert best == last != raw  # the run itself evaluates the average
    names = {path.name for path in tmp_path.glob("*.json")}
    assert names == {f"evaluation-val-{which}.json" for which in ("last", "best", "raw")}


def test_native_compares_at_the_labels_size(tmp_path, opened):
    save(tmp_path / "last.pt", Brightness())
    data = evaluate.DataOverride(size=(64, 64))
    result = evaluate.run(Evaluate(tmp_path, data, native=True, output=tmp_path / "a" / "b.json"))
    assert [call[0].size for call in opened] == [(64, 64), None]
    assert result["protocol"]["native"] is True
    assert result["protocol"]["input"] == [64, 64]
    assert (tmp_path / "a" / "b.json").exists()


def test_other_classes_are_named(tmp_path, opened):
    save(tmp_path / "last.pt", Brightness(3), classes=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"in its order, a, b, c; got dark, bright"):
        evaluate.run(Evaluate(tmp_path))


class Trap:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"not a checkpoint"),
        lambda path: path.write_bytes(path.read_bytes()[:200]),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save(Trap(), path),
        lambda path: save(path, Brightness(), classes="absent"),
        lambda path: save(path, Brightness(), config="{"),
        lambda path: save(path, Brightness(), config='{"mystery": 1}'),
        lambda path: save(path, nn.Linear(2, 2)),
        lambda path: path.unlink(),
    ],
)
def test_bad_checkpoint_is_named_and_not_executed(tmp_path, opened, capsys, spoil):
    path = tmp_path / "last.pt"
    save(path, Brightness())
    spoil(path)
    with pytest.raises((ValueError, FileNotFoundError), match=r"last\.pt"):
        evaluate.run(Evaluate(tmp_path))
    assert "executed" not in capsys.readouterr().out


def test_no_pretrained_weights_are_needed(tmp_path, opened, monkeypatch):
    seen = []

    def build_model(options, classes, embed=True):
        seen.append(options)
        return Brightness(classes, embed)

    monkeypatch.setattr(trained, "build_model", build_model)
    pretrained = dataclasses.replace(config.Train(), model=config.Model(weights="package"))
    save(tmp_path / "last.pt", Brightness(), config=config.to_json(pretrained))
    trained.load_trained(tmp_path)
    assert {each.weights for each in seen} == {"none"}
