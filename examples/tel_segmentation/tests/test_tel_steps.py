"""Steps of a training: recipes, methods, gradients, and what stops one with a clear message."""

import contextlib
import re
from types import SimpleNamespace

import pytest
import tel_folders
import tel_runs
import torch

from tel_segmentation import config
from tel_segmentation.networks.segmenter import build_model
from tel_segmentation.runtime import checkpoint
from tel_segmentation.runtime.run_folder import HISTORY
from tel_segmentation.training import engine, step
from tel_segmentation.training.objective import StepOutput
from tel_segmentation.training.tracking import History, read_history


def test_a_loss_that_is_not_finite_stops_with_the_files_names(tmp_path, monkeypatch):
    settings = tel_runs.options(
        tmp_path / "run", optimizer=config.Optimizer(name="sgd", lr=1e30), iterations=20
    )
    with pytest.raises(step.NonFiniteLossError) as caught:
        engine.train(settings)
    message = str(caught.value)
    assert "iteration" in message
    assert "loss_seg" in message
    assert "train_0" in message


def test_a_gradient_that_is_not_finite_names_the_files_of_all_parts(tmp_path, monkeypatch):
    forward, seen = step._forward, []

    def poisoned(options, state, objective, batch):
        """Makes the gradient infinite in the first part of the second iteration."""
        seen.append(batch.names)
        output = forward(options, state, objective, batch)
        nothing = (output.loss * 0).sqrt()  # 0 with an infinite gradient
        return output._replace(loss=output.loss + nothing) if len(seen) == 3 else output

    monkeypatch.setattr(step, "_forward", poisoned)
    with pytest.raises(step.NonFiniteLossError) as caught:
        engine.train(tel_runs.options(tmp_path / "run", accumulate=2))
    number = r"\d[\d.e-]*"
    parts = [f"{', '.join(names)} \\(loss_seg {number}, loss_tel {number}\\)" for names in seen[2:]]
    assert len(parts) == 2
    assert re.fullmatch(
        f"iteration 1: the gradient is nan; files: {'; '.join(parts)}", str(caught.value)
    )


def test_a_run_says_which_weights_were_loaded(tmp_path, capsys):
    file, folder = tmp_path / "weights.pth", tmp_path / "run"
    torch.save(build_model(config.Model(), 6).features.backbone.state_dict(), file)
    model = config.Model(weights=str(file))
    engine.train(tel_runs.options(folder, model=model, iterations=1))
    captured = capsys.readouterr()
    assert f"{folder}: backbone weights of the file {file}" in captured.err.splitlines()
    assert captured.out == ""


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_recipes(tmp_path, optimizer, amp):
    settings = tel_runs.options(
        tmp_path / "run",
        optimizer=config.Optimizer(name=optimizer, lr=0.01, head_lr_factor=10),
        amp=amp,
        accumulate=2,
        iterations=2,
    )
    assert engine.train(settings)["finished"]
    state = checkpoint.load(tmp_path / "run" / "last.pt")["optimizer"]
    rates = [g["initial_lr"] for g in state["param_groups"]]
    assert rates == [0.01, 0.1]


def test_the_control_with_shuffled_guides(tmp_path):
    loss = {"tel": config.TreeEnergy(level="low", shuffle_guide=True)}
    result = engine.train(tel_runs.options(tmp_path / "run", loss=loss, iterations=2))
    assert result["method"] == "TEL low shuffled guide"


@pytest.mark.parametrize("method", ["seminar_lite", "non_local"])
def test_methods_with_a_state_of_their_own(tmp_path, method):
    settings = tel_runs.options(tmp_path / "run", loss={"method": method}, iterations=2)
    assert engine.train(settings)["finished"]
    state = checkpoint.load(tmp_path / "run" / "last.pt")
    assert (state["ema"] is not None) == (method == "seminar_lite")
    assert bool(state["term"]) == (method == "non_local")


def test_history_of_a_run_that_goes_back(tmp_path):
    history = History(tmp_path, 0)
    for iteration in (2, 4, 6):
        history.add({"iteration": iteration, "loss": 1.0})
    with (tmp_path / HISTORY).open("a") as file:
        file.write('{"iteration": 8, "lo')  # killed while writing
    History(tmp_path, 4)
    assert [x["iteration"] for x in read_history(tmp_path / HISTORY)] == [2, 4]
    (tmp_path / HISTORY).write_text('{"iteration": 2}\nx\n{"iteration": 4}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_history(tmp_path / HISTORY)


def test_no_gpu_asked_for_in_vain(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match="no GPU"):
        engine.train(tel_runs.options(tmp_path / "run", device="cuda"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("device", "asked", "tuned"),
    [("cuda", None, True), ("cpu", None, False), ("cuda", "cudnn", False), ("cuda", "all", False)],
)
def test_cudnn_is_tuned_on_cuda_unless_determinism_is_asked_for(device, asked, tuned, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", asked == "cudnn")
    torch.use_deterministic_algorithms(asked == "all")
    try:
        with step.tuned_convolutions(torch.device(device)):
            assert torch.backends.cudnn.benchmark == tuned
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)


def test_cudnn_is_tuned_in_iterations_and_not_for_images_that_are_evaluated(tmp_path, monkeypatch):
    events = []

    @contextlib.contextmanager
    def tuned(device):
        events.append("tuned")
        yield
        events.append("as before")

    def watched(module, name):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a: events.append(name) or function(*a))

    monkeypatch.setattr(engine, "tuned_convolutions", tuned)
    watched(step, "_forward")
    watched(engine.outcome, "validate")
    engine.train(tel_runs.options(tmp_path / "run", iterations=2, eval_every=1))
    assert events == ["tuned", "_forward", "as before", "validate"] * 2


def test_full_supervision_needs_dense_labels(tmp_path):
    with pytest.raises(ValueError, match=r"data\.annotation must be dense"):
        engine.train(tel_runs.options(tmp_path / "run", loss={"method": "full"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"threads": -1}, "threads must be at least 0"),
        ({"optimizer": config.Optimizer(lr=0)}, "lr > 0"),
        ({"loss": {"tel": config.TreeEnergy(exclude_void=True)}}, "exclude_void must be off"),
        ({"data": {"source": "scenes:hardest"}}, "hardest"),
        ({"model": config.Model(weights="package")}, "tf_efficientnet_lite0"),
    ],
)
def test_a_mistake_leaves_no_run_behind(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        engine.train(tel_runs.options(tmp_path / "run", **change))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_read_is_named(tmp_path, workers):
    for split in ("train", "val"):
        for i in range(4):
            tel_folders.write_image(tmp_path / split / "images" / f"{i}.png", 40, 48, i)
            tel_folders.write_label(
                tmp_path / split / "labels" / f"{i}.png", tel_folders.bands(40, 48)
            )
    toml = tmp_path / "set.toml"
    toml.write_text(tel_folders.HEAD, encoding="utf-8")
    damaged = tmp_path / "train" / "images" / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    data = {"source": str(toml), "annotation": "dense", "workers": workers}
    with pytest.raises(ValueError, match=r"2\.png") as caught:
        engine.train(tel_runs.options(tmp_path / "run", data=data, iterations=20))
    assert "\n" not in str(caught.value)


def test_small_images_are_trained_and_drawn(tmp_path):
    settings = tel_runs.options(
        tmp_path / "run", data={"size": (20, 24)}, iterations=2, tensorboard=True
    )
    assert engine.train(settings)["finished"]
    assert list((tmp_path / "run" / "panels").glob("*.png"))


@pytest.mark.parametrize("parts", [1, 4])
def test_gradients_of_an_iteration_are_the_mean_of_its_parts(tmp_path, monkeypatch, parts):
    """Four images at once or one by one give the same step; gradients are exchanged once."""
    weight = torch.nn.Parameter(torch.zeros(()))
    slopes = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(parts, -1)
    objective = torch.nn.Module()
    objective.weight, unsynchronised = weight, []
    objective.no_sync = lambda: contextlib.nullcontext(unsynchronised.append(1))
    moved = [SimpleNamespace(names=[], slopes=row) for row in slopes]
    batches = [SimpleNamespace(to=lambda _, batch=batch: batch) for batch in moved]
    seen = []

    def forward(options, state, objective, batch):
        return StepOutput((batch.slopes.mean() * objective.weight), {}, None, None)

    monkeypatch.setattr(step, "_forward", forward)
    state = SimpleNamespace(
        optimizer=torch.optim.SGD([weight], lr=1.0),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        iteration=0,
        device=torch.device("cpu"),
        update_average=lambda: None,
    )
    window = SimpleNamespace(add=lambda batch, output: seen.append(batch))
    options = tel_runs.options(tmp_path, accumulate=parts)
    step.update(options, state, objective, batches, window)
    assert weight.item() == -3
    assert (len(seen), len(unsynchronised)) == (parts, parts - 1)


def test_the_random_seed_of_an_iteration():
    """The seed must not change, so that runs of earlier versions resume with the same dropout."""
    assert step.random_seed(0, 0, 0) == 3010437511937009226
    assert step.random_seed(3, 1000, 7) == 5293604460925706070
    seeds = {
        step.random_seed(seed, i, rank) for seed in range(9) for i in range(99) for rank in (0, 1)
    }
    assert len(seeds) == 9 * 99 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)
