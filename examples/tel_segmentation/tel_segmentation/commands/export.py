"""The command ``tel export``: a trained network as one file that needs no tel_segmentation."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from tyro.conf import Positional

from tel_segmentation.data.augment import normalize
from tel_segmentation.evaluation.trained import Trained, Which, load_trained
from tel_segmentation.runtime.checkpoint import write_atomically

SUFFIXES = (".pt2", ".onnx")
CLOSE = 1e-3
"""Largest difference of a probability between the file and the network."""


@dataclass(frozen=True)
class Export:
    """Write a trained network to a file: PyTorch's ExportedProgram (.pt2) or ONNX (.onnx).

    Its input is ``image``, (B, 3, H, W) float32, RGB in [0, 1] at any size; its output is
    ``probabilities``, (B, K, H, W). The trees are part of the training alone: the file needs
    neither treefilter nor tel_segmentation. The network ``ltf``, which has trees inside, can be
    exported as .pt2, and then needs ``import treefilter``.
    """

    run: Positional[Path]
    """A run's folder, or a checkpoint file."""
    output: Positional[Path]
    """The file: NAME.pt2 or NAME.onnx. NAME.json beside it has the names and colours of classes."""
    which: Which = "last"
    """The last iterate, or the best on the validation set (both with averaged weights if the run
    averages them); or the last without averaging (raw)."""
    size: tuple[int, int] | None = None
    """Height and width of images, if only this size shall be possible; by default any size."""
    overwrite: bool = False
    """Replace a file that exists."""


class Probabilities(nn.Module):
    """From RGB in [0, 1] to probabilities: the network with what is around it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, K, H, W)."""
        logits: Tensor = self.network(normalize(image))
        return logits.softmax(1)


def run(options: Export) -> None:
    """The command ``tel export``.

    Raises:
        ValueError: the file's name has another suffix, the file exists, the network cannot be
            exported in this form, or the file does not give the network's probabilities.
        ImportError: the file is ONNX and its packages are not installed.
    """
    suffix = options.output.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"output must end in {' or '.join(SUFFIXES)}, got {options.output}")
    classes = options.output.with_suffix(".json")
    _check_new(options.output, options)
    trained = load_trained(options.run, options.which, "cpu")
    description = _description(trained, options).encode()
    if not classes.is_file() or classes.read_bytes() != description:  # as beside the other format
        _check_new(classes, options)
    if suffix == ".onnx" and trained.config.model.network == "ltf":
        raise ValueError(
            "output must end in .pt2 for the network ltf: it has trees inside, for which ONNX has"
            f" no operators; got {options.output}"
        )
    network = Probabilities(trained.model).eval().requires_grad_(False)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # torch's about torch
        program = exported(network, trained.config.data.crop, options.size)
        if suffix == ".pt2":
            write_atomically(options.output, lambda file: torch.export.save(program, file))
        else:
            _write_onnx(program, options.output)
        error = _difference(network, options)
    if not error <= CLOSE:
        options.output.unlink()
        raise ValueError(
            f"{options.output} must give the network's probabilities, got a difference of"
            f" {error:.1e}; the file is removed"
        )
    write_atomically(classes, lambda file: file.write(description))
    print(f"written: {options.output}, {classes}; probabilities differ by at most {error:.1e}")


def _check_new(file: Path, options: Export) -> None:
    if file.exists() and not options.overwrite:
        raise ValueError(f"{file} must not exist; --overwrite replaces it")


def exported(
    network: nn.Module, crop: tuple[int, int], size: tuple[int, int] | None = None
) -> ExportedProgram:
    """The program of a network for one size of images, or with ``size`` None for any."""
    image = torch.rand(2, 3, *(size or crop))
    sides = {} if size else {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    shapes = ({0: Dim.DYNAMIC, **sides},)
    with torch.no_grad():
        return torch.export.export(network, (image,), dynamic_shapes=shapes, strict=False)


def _write_onnx(program: ExportedProgram, output: Path) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{output} needs the packages onnx and onnxscript: pip install onnx onnxscript"
        ) from error
    written = torch.onnx.export(
        program, dynamo=True, input_names=["image"], output_names=["probabilities"], verbose=False
    )
    if written is None:
        raise ValueError(f"{output} must be a network that ONNX can describe, got none")
    proto = written.model_proto
    write_atomically(output, lambda file: file.write(proto.SerializeToString()))


def _difference(network: nn.Module, options: Export) -> float:
    """How far the file's probabilities are from the network's, at most, on images of some sizes."""
    sizes = [options.size] if options.size else [(64, 64), (75, 101)]
    largest = 0.0
    for size in sizes:
        image = torch.rand(1, 3, *size)
        with torch.no_grad():
            expected = network(image)
        largest = max(largest, float((_run_file(options.output, image) - expected).abs().max()))
    return largest


def _run_file(file: Path, image: Tensor) -> Tensor:
    if file.suffix.lower() == ".pt2":
        result: Tensor = torch.export.load(file).module()(image)
        return result
    import onnx.reference

    try:
        import onnxruntime
    except ImportError:
        (values,) = onnx.reference.ReferenceEvaluator(str(file)).run(None, {"image": image.numpy()})
    else:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        (values,) = session.run(None, {"image": image.numpy()})
    return torch.from_numpy(values)


def _description(trained: Trained, options: Export) -> str:
    size = options.size or trained.config.data.size
    return (
        json.dumps(
            {
                "input": "image: (B, 3, H, W) float32, RGB in [0, 1]",
                "output": "probabilities: (B, K, H, W) float32",
                "trained_at": list(size) if size else None,
                "keep_aspect": bool(size) and trained.config.data.keep_aspect,
                "classes": list(trained.classes),
                "colors": [list(color) for color in trained.colors],
                "iteration": trained.iteration,
                "which": options.which,
            },
            indent=1,
            ensure_ascii=False,
        )
        + "\n"
    )
