"""tel export: files that give the network's probabilities without this package."""

import json
import subprocess
import sys
import warnings

import pytest
import torch

from tel_segmentation import config
from tel_segmentation.cli import main
from tel_segmentation.commands import export
from tel_segmentation.commands.export import Export
from tel_segmentation.data.augment import normalize
from tel_segmentation.evaluation.trained import load_trained
from tel_segmentation.networks.segmenter import build_model

CLASSES = ["sky", "$road", "Bäume"]


def checkpoint(folder, model=None):
    options = config.Train(model=model or config.Model())
    torch.manual_seed(0)
    network = build_model(options.model, len(CLASSES)).train()
    with torch.no_grad():  # the statistics of batch norm are no longer 0 and 1
        network(torch.randn(2, 3, 64, 64))
    values = {
        "model": network.state_dict(),
        "ema": None,
        "config": config.to_json(options),
        "classes": CLASSES,
        "colors": [[1, 2, 3]] * len(CLASSES),
        "iteration": 7,
    }
    torch.save(values, folder / "last.pt")


def probabilities(folder, image):
    with torch.no_grad():
        return load_trained(folder, device="cpu").model(normalize(image)).softmax(1)


def test_exported_program_runs_at_any_size_without_the_package(tmp_path):
    checkpoint(tmp_path)
    assert main(["export", str(tmp_path), str(tmp_path / "model.pt2")]) == 0
    image = torch.rand(3, 3, 70, 90)
    torch.save(image, tmp_path / "image.pt")
    program = """
import sys, torch
module = torch.export.load(sys.argv[1]).module()
torch.save(module(torch.load(sys.argv[2])), sys.argv[2])
assert "treefilter" not in sys.modules and "tel_segmentation" not in sys.modules
"""
    command = [sys.executable, "-c", program, tmp_path / "model.pt2", tmp_path / "image.pt"]
    subprocess.run(command, check=True, timeout=300)
    torch.testing.assert_close(
        torch.load(tmp_path / "image.pt"), probabilities(tmp_path, image), atol=1e-5, rtol=0
    )
    told = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert told["classes"] == CLASSES
    assert told["iteration"] == 7
    assert told["keep_aspect"] is False


def test_onnx_runs_at_any_size(tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    checkpoint(tmp_path)
    export.run(Export(tmp_path, tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [each.name for each in session.get_inputs()] == ["image"]
    for size in ((1, 3, 64, 64), (2, 3, 47, 85)):
        image = torch.rand(size)
        (got,) = session.run(["probabilities"], {"image": image.numpy()})
        torch.testing.assert_close(
            torch.from_numpy(got), probabilities(tmp_path, image), atol=1e-5, rtol=0
        )


def test_one_size(tmp_path):
    checkpoint(tmp_path)
    export.run(Export(tmp_path, tmp_path / "model.pt2", size=(48, 64)))
    module = torch.export.load(tmp_path / "model.pt2").module()
    assert module(torch.rand(5, 3, 48, 64)).shape == (5, 3, 48, 64)
    with pytest.raises(Exception, match=r"Guard failed: image.size\(\)\[2\] == 48"):
        module(torch.rand(1, 3, 64, 64))


def test_a_file_that_exists_is_kept(tmp_path, capsys):
    checkpoint(tmp_path)
    (tmp_path / "model.pt2").write_text("precious")
    assert main(["export", str(tmp_path), str(tmp_path / "model.pt2")]) == 2
    assert "model.pt2 must not exist; --overwrite replaces it" in capsys.readouterr().err
    assert (tmp_path / "model.pt2").read_text() == "precious"
    export.run(Export(tmp_path, tmp_path / "model.pt2", overwrite=True))
    (tmp_path / "model.pt2").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # none for the user
        export.run(Export(tmp_path, tmp_path / "model.pt2"))  # the classes are those there
    (tmp_path / "model.pt2").unlink()
    (tmp_path / "model.json").write_text("precious")
    assert main(["export", str(tmp_path), str(tmp_path / "model.pt2")]) == 2
    assert "model.json must not exist" in capsys.readouterr().err


def test_wrong_probabilities_are_not_written(tmp_path, monkeypatch):
    checkpoint(tmp_path)
    monkeypatch.setattr(export, "_run_file", lambda file, image: torch.rand(1, 3, 1, 1))
    with pytest.raises(ValueError, match="must give the network's probabilities"):
        export.run(Export(tmp_path, tmp_path / "model.pt2"))
    assert not (tmp_path / "model.pt2").exists()


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("model.pth", config.Model(), r"output must end in .pt2 or .onnx, got"),
        (
            "model.onnx",
            config.Model(name="resnet18", network="ltf", output_stride=32),
            "output must end in .pt2 for the network ltf",
        ),
    ],
)
def test_errors(name, model, message, tmp_path):
    checkpoint(tmp_path, model)
    with pytest.raises(ValueError, match=message):
        export.run(Export(tmp_path, tmp_path / name))
