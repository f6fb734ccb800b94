"""The result of a run: evaluations by its own protocol, and by others at its end."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import tel_runs
import torch

from tel_segmentation.commands import evaluate
from tel_segmentation.commands.evaluate import Evaluate
from tel_segmentation.config import Evaluation
from tel_segmentation.data.sample import Sample
from tel_segmentation.runtime import distributed
from tel_segmentation.training import engine, outcome, record
from tel_segmentation.training.tracking import read_history

SQUASH = Evaluation("squash", (40, 48))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tel"
    options = tel_runs.options(folder, evaluation=SQUASH, protocols=("ss", "msf", "official"))
    return folder, engine.train(options)


def test_protocols_at_the_end(finished):
    _, result = finished
    evaluation = result["evaluation"]
    assert evaluation["last"]["protocol"]["protocol"] == "squash"
    assert evaluation["last"]["protocol"]["size"] == [40, 48]
    ss, msf, official = (evaluation["protocols"][name] for name in ("ss", "msf", "official"))
    assert ss["last"]["protocol"]["protocol"] == "native"
    assert (len(msf["last"]["protocol"]["scales"]), msf["last"]["protocol"]["flip"]) == (7, True)
    padded = dict(msf["last"]["protocol"])
    assert padded.pop("multiple") == ss["last"]["protocol"]["multiple"] == 16
    assert official["last"]["protocol"] == padded | {"protocol": "squash", "size": [40, 48]}
    for both in (ss, msf, official):
        assert both["best"]["iteration"] <= both["last"]["iteration"] == 6
    assert result["paper"] is None
    assert result["batch"] == {
        "total": 2, "processes": 1, "per_process": 2, "accumulate": 1, "normalised_together": 2,
    }  # fmt: skip


def test_the_command_evaluates_as_the_run_does(finished, tmp_path):
    folder, result = finished
    for which in ("last", "best"):
        again = evaluate.run(Evaluate(folder, split="test", which=which, device="cpu"))
        assert again["miou"] == pytest.approx(result["evaluation"][which]["miou"])
        assert again["protocol"]["protocol"] == "squash"
    native = Evaluate(folder, split="test", protocol="native", output=tmp_path / "a.json")
    expected = result["evaluation"]["protocols"]["ss"]["last"]["miou"]
    assert evaluate.run(native)["miou"] == pytest.approx(expected)
    saved = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["protocol"]
    assert (saved["protocol"], saved["scales"], saved["flip"]) == ("native", [1.0], False)
    sliding = dataclasses.replace(native, protocol="sliding", overlap=0.5)
    assert evaluate.run(sliding)["protocol"]["size"] == [32, 32]  # the crop


def test_the_validation_has_the_runs_protocol(tmp_path, monkeypatch):
    seen = []
    original = outcome.evaluate_model

    def watched(*arguments, evaluation, **others):
        seen.append((evaluation, others["batch"]))
        return original(*arguments, evaluation=evaluation, **others)

    monkeypatch.setattr(outcome, "evaluate_model", watched)
    many = dataclasses.replace(SQUASH, scales=(0.8, 1.0))
    engine.train(tel_runs.options(tmp_path / "a", evaluation=SQUASH))
    assert set(seen) == {(SQUASH, 2)}
    seen.clear()
    engine.train(tel_runs.options(tmp_path / "b", evaluation=many))
    assert set(seen) == {(many, 1)}
    logs = [x for x in read_history(tmp_path / "b" / "history.jsonl") if "evaluation" in x]
    assert [x["iteration"] for x in logs] == [3, 6]


def test_the_best_network_is_evaluated_with_its_own_weights(tmp_path, monkeypatch):
    seen = []

    def falling(model, *_, evaluation, **__):
        weights = sum(p.abs().sum().item() for p in model.parameters())
        seen.append((evaluation.protocol, weights))
        metrics = {"miou": 1 / len(seen), "accuracy": 0.5, "boundary_miou": 0.5, "iou": [0.5]}
        return metrics | {"images": 1, "protocol": {}, "confusion": [[1]], "image_miou": []}

    monkeypatch.setattr(outcome, "evaluate_model", falling)
    options = tel_runs.options(tmp_path / "a", evaluation=SQUASH, protocols=("ss",))
    evaluation = engine.train(options)["evaluation"]
    first, second, *final = seen  # after iterations 3 and 6
    assert first[1] != second[1]
    # last, then best; each by the run's own protocol and natively
    assert [protocol for protocol, _ in final] == ["squash", "native"] * 2
    assert [weights for _, weights in final] == [second[1]] * 2 + [first[1]] * 2
    assert (evaluation["last"]["iteration"], evaluation["best"]["iteration"]) == (6, 3)


def test_protocols_that_mean_the_same_are_run_once(tmp_path, monkeypatch):
    calls = []
    original = outcome.evaluate_model

    def counted(*arguments, **options):
        calls.append(options["evaluation"])
        return original(*arguments, **options)

    monkeypatch.setattr(outcome, "evaluate_model", counted)
    same = Evaluation(multiple=16)
    result = engine.train(
        tel_runs.options(tmp_path / "a", evaluation=same, protocols=("ss",), eval_every=6)
    )
    # one while training, one of the last and one of the best on the test split
    assert len(calls) == 3
    evaluation = result["evaluation"]
    assert evaluation["protocols"]["ss"] == {n: evaluation[n] for n in ("last", "best")}


@pytest.mark.parametrize(("rank", "ratio"), [(0, 0.25), (1, None)])
def test_one_process_reads_the_training_set_for_the_record(tmp_path, monkeypatch, rank, ratio):
    read = []

    class Labels:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            read.append(index)
            label = torch.tensor([[-1, 2], [-1, -1]])
            return Sample(str(index), torch.zeros(3, 2, 2, dtype=torch.uint8), label, label)

    monkeypatch.setattr(distributed, "world", lambda: (rank, 2))
    model = torch.nn.Linear(1, 1)
    model.weights = "none"
    state = SimpleNamespace(
        classes=["a"], colors=[[0, 0, 0]], seconds=1.0, device=torch.device("cpu"), model=model
    )
    found = record.make(tel_runs.options(tmp_path), state, Labels(), [1.0], {})
    assert found["labelled_ratio"] == ratio
    assert read == ([0, 1, 2] if rank == 0 else [])
    assert found["batch"]["total"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocols": ("sss",)}, "protocols must be of ss, msf, official, got 'sss'"),
        ({"evaluation": Evaluation("squash")}, r"evaluation\.size must be at least 32"),
    ],
)
def test_mistakes_are_found_before_the_training(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        engine.train(tel_runs.options(tmp_path / "run", **change))
    assert not (tmp_path / "run").exists()
