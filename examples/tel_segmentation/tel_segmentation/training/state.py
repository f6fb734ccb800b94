"""The state of a run: all that changes during training, and how it is saved and restored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tel_segmentation import config
from tel_segmentation.data.sample import Source
from tel_segmentation.evaluation.trained import load_teachers
from tel_segmentation.losses.mean_teacher import teacher_decay
from tel_segmentation.runtime import checkpoint
from tel_segmentation.runtime.distributed import synchronized, world
from tel_segmentation.training.objective import Objective, teacher_ramp


class State:
    """Network, optimiser, average of the weights and counters of a run.

    Args:
        options: of the run.
        source: the training images, whose classes and colours are used.
        device: of this process.
        begun: a checkpoint will be restored: files of pretrained weights are not read any more.
    """

    def __init__(
        self, options: config.Train, source: Source, device: torch.device, *, begun: bool = False
    ) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        if begun:
            options = replace(options, model=replace(options.model, weights="none"))
        self.device = device
        self.classes, self.colors = list(source.classes), [list(c) for c in source.colors]
        objective = Objective(options, len(source.classes)).to(device)
        self.objective: Objective = synchronized(objective, device)  # type: ignore[assignment]
        self.model: nn.Module = self.objective.model
        self.optimizer = _optimizer(self.objective, options.optimizer)
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.amp == "fp16")
        second_stage = bool(options.loss.teachers)
        mean_teacher = options.loss.method == "seminar_lite" and not second_stage
        averaged = options.optimizer.ema > 0 or mean_teacher
        self.ema = AveragedModel(self.model, use_buffers=True) if averaged else None
        self.teachers = load_teachers(options.loss.teachers, source.classes, device)
        self.iteration = 0
        self.seconds = 0.0
        self.best: dict[str, Any] = {}  # metrics of the best evaluation on val
        self.unevaluated = False  # an evaluation is due, or was interrupted

    def distributed(self) -> nn.Module:
        """The objective; if there are several processes, in a DistributedDataParallel."""
        if world()[1] == 1:
            return self.objective
        device_ids = [self.device] if self.device.type == "cuda" else None
        # With some options parameters have no gradient: the embedding with detach="target".
        return DistributedDataParallel(
            self.objective, device_ids=device_ids, find_unused_parameters=True
        )

    def set_learning_rate(self) -> float:
        """Sets the learning rate of this iteration by the polynomial schedule, and returns it."""
        options = self.options
        factor = (1 - self.iteration / options.iterations) ** options.optimizer.power
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        return options.optimizer.lr * factor

    def taught(self, image: Tensor) -> tuple[Tensor, ...]:
        """The logits of the teachers for a normalised batch, (B, K, h, w) each.

        Batch norm in a mean teacher uses the statistics of the batch, as in its student; in
        finished networks it uses the running statistics.
        """
        if self.options.loss.method != "seminar_lite":
            return ()
        with torch.no_grad():
            if self.teachers:
                return tuple(teacher.classify(image) for teacher in self.teachers)
            assert self.ema is not None
            return (self.ema.module.train()(image).logits,)

    def update_average(self) -> None:
        """Updates the average of the weights, if there is one."""
        if self.ema is None:
            return
        decay = self.options.optimizer.ema or teacher_decay(
            self.iteration, teacher_ramp(self.options)
        )
        self.ema.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self.ema.update_parameters(self.model)

    def save(self, path: Path) -> None:
        """Writes a checkpoint of the whole state; ``checkpoint.load`` reads it."""
        checkpoint.save(
            path,
            {
                "config": config.to_json(self.options),
                "total": self.options.batch * self.options.accumulate * world()[1],
                "weights": self.model.weights,
                "classes": self.classes,
                "colors": self.colors,
                "iteration": self.iteration,
                "seconds": self.seconds,
                "best": self.best,
                "unevaluated": self.unevaluated,
                "model": self.model.state_dict(),
                "term": self.objective.term.state_dict() if self.objective.term else {},
                "ema": self.ema.state_dict() if self.ema else None,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
            },
        )

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes over the state of a checkpoint.

        Raises:
            ValueError: the checkpoint is of another network or another set of classes.
        """
        checkpoint.require_all(saved)
        if saved["classes"] != self.classes:
            raise ValueError(
                f"the checkpoint's classes {saved['classes']} are not the data's {self.classes}"
            )
        try:
            self.model.load_state_dict(saved["model"])
            if self.objective.term is not None:
                self.objective.term.load_state_dict(saved["term"])
            if self.ema is not None:
                self.ema.load_state_dict(saved["ema"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.scaler.load_state_dict(saved["scaler"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"the checkpoint is of another configuration: {reason}") from error
        self.iteration, self.seconds = saved["iteration"], saved["seconds"]
        self.best, self.unevaluated = saved["best"], saved.get("unevaluated") is True
        self.model.weights = saved.get("weights", self.options.model.weights)


def _optimizer(objective: Objective, options: config.Optimizer) -> torch.optim.Optimizer:
    model: Any = objective.model
    head = [*model.head_parameters(), *(objective.term.parameters() if objective.term else ())]
    lr = options.lr
    groups = [
        {"params": list(model.backbone_parameters()), "initial_lr": lr},
        {"params": head, "initial_lr": lr * options.head_lr_factor},
    ]
    groups = [g for g in groups if g["params"]]
    if options.name == "sgd":
        return torch.optim.SGD(
            groups, lr=lr, momentum=options.momentum, weight_decay=options.weight_decay
        )
    return torch.optim.AdamW(groups, lr=lr, weight_decay=options.weight_decay)
