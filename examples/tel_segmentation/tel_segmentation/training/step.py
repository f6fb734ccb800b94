"""One iteration of training: loss, finite check, gradient, update."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from tel_segmentation import config
from tel_segmentation.data.sample import Batch
from tel_segmentation.runtime import distributed
from tel_segmentation.training.diagnosis import Window, gives_finite_output
from tel_segmentation.training.objective import StepOutput
from tel_segmentation.training.state import State

Part = tuple[list[str], dict[str, Tensor]]  # a batch's files, and the terms of its loss
AMP = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteLossError(Exception):
    """The loss is infinite or not a number."""


def update(
    options: config.Train,
    state: State,
    objective: nn.Module,
    batches: Sequence[Batch],
    window: Window,
) -> None:
    """One iteration: ``options.accumulate`` batches, one update of the weights and their average.

    Args:
        options: of the run.
        state: network, optimiser, scaler; ``state.iteration`` is the number of the iteration. The
            caller counts it.
        objective: ``state.distributed()``.
        batches: ``options.accumulate`` of them.
        window: gets the numbers of each batch.

    Raises:
        NonFiniteLossError: a loss or the gradient is not finite; the weights are not changed.
        ValueError: a term of the loss cannot use its inputs.
    """
    rank, _ = distributed.world()
    torch.manual_seed(random_seed(options.seed, state.iteration, rank))
    objective.train()
    state.optimizer.zero_grad(set_to_none=True)
    parts: list[Part] = []
    for part, given in enumerate(batches, 1):
        batch = given.to(state.device)
        last = part == len(batches)
        with contextlib.nullcontext() if last else _no_sync(objective):
            output = _forward(options, state, objective, batch)
            parts.append((batch.names, output.parts))
            _check_finite("loss", output.loss, state.iteration, parts[-1:])
            state.scaler.scale(output.loss / options.accumulate).backward()
        window.add(batch, output)
    if options.amp != "fp16":  # with fp16 the scaler skips such steps
        norm = nn.utils.clip_grad_norm_(objective.parameters(), math.inf)
        _check_finite("gradient", norm, state.iteration, parts)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.update_average()


def check_weights(state: State, batches: Sequence[Batch]) -> None:
    """Checks the weights and the running statistics after an iteration.

    The update may have ruined them although loss and gradient were finite. The next iteration
    would find that out; before a checkpoint, and after the last iteration, there is none.

    Args:
        state: after the iteration.
        batches: of the iteration. After the last one, also the network's output for one of them is
            checked.

    Raises:
        NonFiniteLossError: a value is not finite.
    """
    tensors = [x for x in state.model.state_dict().values() if x.is_floating_point()]
    what = ""
    if not bool(torch.stack([x.isfinite().all() for x in tensors]).all()):
        what = "the weights are not finite"
    elif state.iteration == state.options.iterations and not gives_finite_output(
        state.objective, batches[-1], state.device
    ):
        what = "the network's output is not finite"
    if what:
        files = "; ".join(", ".join(batch.names) for batch in batches)
        raise NonFiniteLossError(
            f"iteration {state.iteration - 1}: {what} after it; files: {files}"
        )


def _no_sync(objective: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Keeps DistributedDataParallel from exchanging gradients before the last batch."""
    no_sync = getattr(objective, "no_sync", None)
    return no_sync() if no_sync else contextlib.nullcontext()


def _forward(options: config.Train, state: State, objective: nn.Module, batch: Batch) -> StepOutput:
    amp = torch.autocast(state.device.type, dtype=AMP[options.amp], enabled=options.amp != "off")
    with amp:
        teachers = state.taught(batch.image)
        try:
            output: StepOutput = objective(
                batch.image, batch.guide, batch.label, state.iteration, teachers
            )
        except ValueError as error:  # by a term, of an embedding with NaN for example
            raise ValueError(
                f"iteration {state.iteration}: {error}; files: {', '.join(batch.names)}"
            ) from error
    return output


def _check_finite(what: str, value: Tensor, iteration: int, parts: list[Part]) -> None:
    if math.isfinite(value.item()):
        return
    described = []
    for files, terms in parts:
        numbers = ", ".join(f"{name} {term.item():g}" for name, term in terms.items())
        described.append(f"{', '.join(files)} ({numbers})")
    raise NonFiniteLossError(
        f"iteration {iteration}: the {what} is {value.item()}; files: {'; '.join(described)}"
    )


def random_seed(*numbers: int) -> int:
    """A seed of 63 bits from several numbers, the same on every machine and Python.

    The algorithm is xxHash's, as CPython hashes a tuple of small integers: earlier versions of this
    package used ``hash``, and their runs go on with the same random numbers.
    """
    first, second, fifth = 11400714785074694791, 14029467366897019727, 2870177450012600261
    mask = 2**64 - 1
    total = fifth
    for number in numbers:
        total = (total + number * second) & mask
        total = (total << 31 | total >> 33) & mask
        total = total * first & mask
    return (total + (len(numbers) ^ fifth ^ 3527539)) & (2**63 - 1)


@contextlib.contextmanager
def tuned_convolutions(device: torch.device) -> Iterator[None]:
    """On CUDA, lets cuDNN choose the fastest algorithms, unless torch is to be deterministic.

    cuDNN times its algorithms once for each size of input. That is worth it in training, where
    crops have one size, or the same turned, but not in evaluation. The choice may differ from run
    to run, and with it the last bits of the results.
    """
    cudnn = torch.backends.cudnn
    deterministic = cudnn.deterministic or torch.are_deterministic_algorithms_enabled()
    before = cudnn.benchmark
    if device.type == "cuda":
        cudnn.benchmark = not deterministic
    try:
        yield
    finally:
        cudnn.benchmark = before
