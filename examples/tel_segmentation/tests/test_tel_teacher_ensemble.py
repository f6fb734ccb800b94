"""The second stage of seminar_lite: agreement of teachers, and runs that learn from it."""

import dataclasses

import pytest
import tel_cases
import tel_runs
import torch
import torch.nn.functional as F

from tel_segmentation import config
from tel_segmentation.data.loading import open_source
from tel_segmentation.evaluation.trained import load_teachers, load_trained
from tel_segmentation.losses.inputs import LossInputs
from tel_segmentation.losses.teacher_ensemble import (
    TaughtTreeEnergy,
    confident_agreement,
    teacher_ensemble_loss,
)
from tel_segmentation.losses.tree_energy import tree_energy_loss
from tel_segmentation.runtime import checkpoint
from tel_segmentation.training import engine
from tel_segmentation.training.record import portable
from tel_segmentation.training.state import State

# The pixels: both sure, different classes, the second unsure, both sure of the other class.
FIRST = [[0.95, 0.05], [0.95, 0.05], [0.95, 0.05], [0.02, 0.98]]
SECOND = [[0.91, 0.09], [0.05, 0.95], [0.89, 0.11], [0.04, 0.96]]


def maps(rows):
    """The probabilities of N pixels as (1, K, 1, N)."""
    return torch.tensor(rows, dtype=torch.float64).mT[None, :, None]


def test_where_both_agree_and_are_sure():
    mean, sure = confident_agreement([maps(FIRST), maps(SECOND)], 0.9)
    assert sure.flatten().tolist() == [True, False, False, True]
    assert mean[0, 0, 0].tolist() == pytest.approx([0.93, 0.5, 0.92, 0.03])
    assert confident_agreement([maps(FIRST)], 0.9)[1].all()
    assert not confident_agreement([maps(FIRST), maps(SECOND)], 1.0)[1].any()


def test_cross_entropy_where_they_agree_and_nothing_is_labelled():
    student = torch.tensor([[[[0.0, 1.0, 2.0, -1.0, 4.0]], [[1.0, 1.0, 0.0, 3.0, 0.0]]]])
    first, second = (maps([*rows, rows[0]]).log() for rows in (FIRST, SECOND))
    label = torch.tensor([[[-1, -1, -1, -1, 0]]])  # the last one is sure, but labelled
    student.requires_grad_()
    out = teacher_ensemble_loss(student, [first.requires_grad_(), second], label)
    expected = F.cross_entropy(student[0, :, 0, [0, 3]].mT, torch.tensor([0, 1]))
    torch.testing.assert_close(out.loss, expected)
    assert out.logs["agreed"] == pytest.approx(2 / 4)
    out.loss.backward()
    assert first.grad is None
    assert student.grad[0, 0, 0].ne(0).tolist() == [True, False, False, True, False]
    padded = torch.tensor([[[-2, -1, -1, -1, 0]]])
    assert teacher_ensemble_loss(student, [first, second], padded).logs["agreed"] == 1 / 3


def test_teachers_at_another_stride():
    logits, _, label = tel_cases.batch()
    coarse = torch.zeros(2, 3, 2, 3)
    coarse[:, 1] = 9
    out = teacher_ensemble_loss(logits, [coarse, torch.zeros_like(logits)], label, threshold=0.3)
    assert out.pseudo["final"].shape == logits.shape
    assert (out.pseudo["final"].argmax(1) == 1).all()


def loss(logits, image, label):
    teacher = torch.randn(logits.shape, generator=torch.Generator().manual_seed(5))
    return teacher_ensemble_loss(logits, [teacher, teacher], label, threshold=0.2).loss


def test_holds_like_every_term():
    tel_cases.assert_half_is_float32(loss)
    tel_cases.assert_padding_never_counts(loss, partial=False)
    tel_cases.assert_nothing_from_nothing(loss, -2)
    tel_cases.assert_nothing_from_nothing(loss, 0)
    tel_cases.assert_descends(loss)


def test_the_module_adds_the_trees():
    logits, image, label = tel_cases.batch()
    low = config.TreeEnergy(level="low")
    teachers = (torch.randn_like(logits), torch.randn_like(logits))
    out = TaughtTreeEnergy(low, 0.4)(LossInputs(logits, None, image, label, teachers=teachers))
    tree = 0.4 * tree_energy_loss(logits, image, label, options=low).loss
    taught = teacher_ensemble_loss(logits, teachers, label, threshold=0.4).loss
    assert taught > 0
    torch.testing.assert_close(out.loss, tree + taught)
    assert set(out.pseudo) == {"low", "final", "teacher"}


def test_wrong_arguments():
    logits, image, label = tel_cases.batch()
    with pytest.raises(ValueError, match="at least one network, all of one shape, got none"):
        TaughtTreeEnergy(config.TreeEnergy())(LossInputs(logits, None, image, label))
    with pytest.raises(ValueError, match=r"classes of the logits, \(2, 3, 4, 5\), got \(2, 2, "):
        teacher_ensemble_loss(logits, [logits[:, 1:]], label)
    with pytest.raises(ValueError, match=r"of one shape, got \(1, 2\), \(1, 3\)"):
        confident_agreement([torch.ones(1, 2), torch.ones(1, 3)])
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\], got 2"):
        teacher_ensemble_loss(logits, [logits], label, threshold=2)


LOSS = {"method": "seminar_lite", "threshold": 0.18}  # six classes, hardly trained


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    for seed in (0, 1):
        engine.train(tel_runs.options(folder / f"s{seed}", loss=LOSS, seed=seed))
    return str(folder / "s0"), str(folder / "s1")


def second_stage(folder, teachers, **changes):
    return tel_runs.options(folder, loss={**LOSS, "teachers": tuple(teachers)}, **changes)


def test_a_run_that_learns_from_two_and_is_resumed(teachers, tmp_path):
    whole = engine.train(second_stage(tmp_path / "whole", teachers))
    folder = tmp_path / "resumed"
    engine.train(second_stage(folder, teachers))
    (folder / "previous.pt").replace(folder / "last.pt")  # as if it had been killed
    engine.train(config.load(folder / "config.json"), resume=True)
    a, b = (checkpoint.load(f / "last.pt")["model"] for f in (tmp_path / "whole", folder))
    assert all(torch.equal(a[name], b[name]) for name in a | b)
    assert whole["method"] == "TEL with an ensemble of teachers"
    assert whole["config"]["loss"]["teachers"] == ["s0", "s1"]
    lines = (folder / "history.jsonl").read_text(encoding="utf-8")
    assert '"loss_seminar_lite"' in lines
    assert '"agreed"' in lines
    # With only one teacher, it learns something else.
    engine.train(second_stage(tmp_path / "one", teachers[:1]))
    one = checkpoint.load(tmp_path / "one" / "last.pt")["model"]
    assert any(not torch.equal(a[name], one[name]) for name in a)


def test_only_the_student_learns(teachers, tmp_path):
    settings = second_stage(tmp_path / "run", teachers)
    state = State(settings, open_source(settings.data, "train"), torch.device("cpu"))
    assert state.ema is None
    before = [{k: v.clone() for k, v in t.state_dict().items()} for t in state.teachers]
    image = torch.rand(2, 3, 32, 32)
    taught = state.taught(image)
    assert len(taught) == 2
    assert not any(each.requires_grad for each in taught)
    # Batch norm uses the training's statistics, so other images in the batch have no influence.
    torch.testing.assert_close(state.taught(image[:1])[0], taught[0][:1])
    state.objective.train()
    output = state.objective(image, image, torch.full((2, 32, 32), -1), 0, taught)
    output.loss.backward()
    assert any(p.grad is not None for p in state.model.parameters())
    moved = {id(p) for group in state.optimizer.param_groups for p in group["params"]}
    for teacher, values in zip(state.teachers, before, strict=True):
        assert not teacher.training
        assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
        assert not moved & {id(p) for p in teacher.parameters()}
        assert all(torch.equal(values[k], v) for k, v in teacher.state_dict().items())


def test_the_teacher_is_the_mean_teacher(teachers):
    (network,) = load_teachers(teachers[:1], SIX, torch.device("cpu"))
    saved = checkpoint.load(tel_runs.Path(teachers[0]) / "last.pt")
    name = next(iter(dict(network.named_parameters())))
    value = network.state_dict()[name]
    assert torch.equal(value, saved["ema"][f"module.{name}"])
    assert not torch.equal(value, saved["model"][name])
    # Evaluations use the student.
    assert torch.equal(load_trained(tel_runs.Path(teachers[0])).model.state_dict()[name],
                       saved["model"][name])  # fmt: skip


SIX = tuple(open_source(tel_runs.SMALL.data, "train").classes)


def test_what_no_teacher_can_be(teachers, tmp_path):
    def message(paths, **changes):
        with pytest.raises(ValueError, match=r"loss\.teachers must") as caught:
            engine.train(second_stage(tmp_path / "run", paths, **changes))
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    missing = tmp_path / "missing"
    assert f"folders of finished runs, or checkpoints, got '{missing}'" in message([str(missing)])
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    earlier = tel_runs.Path(teachers[0]) / "previous.pt"
    (unfinished / "last.pt").write_bytes(earlier.read_bytes())
    assert "at iteration 4 of 6" in message([teachers[0], str(unfinished)])
    # A checkpoint given as a file may be unfinished.
    assert load_teachers([str(earlier)], SIX, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"the data's classes, sky, road, got .* with background"):
        load_teachers(teachers, ("sky", "road"), torch.device("cpu"))
    options = config.Train(loss=config.Loss(method="tel", teachers=teachers))
    with pytest.raises(ValueError, match=r"loss\.teachers must be .* alone, got 'tel'"):
        config.check(options)
    options = config.Train(loss=config.Loss(teacher_ramp_part=2))
    with pytest.raises(ValueError, match=r"teacher_ramp_part must be in \[0, 1\], got 2"):
        config.check(options)


def test_records_have_no_paths_of_teachers(tmp_path):
    settings = second_stage(tmp_path / "run", [str(tmp_path / "a"), "runs/b"])
    assert portable(settings).loss.teachers == ("a", "b")
    assert config.build(config.Train, dataclasses.asdict(settings)).loss == settings.loss
