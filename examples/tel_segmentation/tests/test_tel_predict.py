import os
import sys

import numpy as np
import pytest
import tel_crf
import torch
from PIL import Image

from tel_segmentation import config
from tel_segmentation.commands import predict
from tel_segmentation.commands.predict import Predict, read
from tel_segmentation.evaluation import pictures, trained
from tel_segmentation.evaluation.postprocess import DenseCrf
from tel_segmentation.evaluation.protocols import predict_logits

COLORS = ((10, 20, 30), (200, 210, 220))


class Brightness(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[-2:]))
        return torch.stack([-x.mean(1), x.mean(1)], 1)


@pytest.fixture
def network(tmp_path, monkeypatch):
    model = Brightness()
    monkeypatch.setattr(trained, "build_model", lambda options, classes, embed=True: model)
    values = {
        "model": {},
        "ema": None,
        "config": config.to_json(config.Train()),
        "classes": ["dark", "bright"],
        "colors": [list(color) for color in COLORS],
        "iteration": 1,
    }
    torch.save(values, tmp_path / "last.pt")
    return model


def noise(path, size, seed=0, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(values).save(path, **more)
    return values


def test_folder_of_images_of_any_size(tmp_path, network):
    inputs = tmp_path / "in"
    sizes = {"a": (33, 57), "b": (64, 40), "c": (8, 100)}
    for name, size in sizes.items():
        noise(inputs / f"{name}.png", size)
    (inputs / "notes.txt").write_text("no image, no error")
    assert predict.run(Predict(tmp_path, (inputs,), tmp_path / "out", overlay="png")) == 0
    for name, size in sizes.items():
        label = Image.open(tmp_path / "out" / "labels" / f"{name}.png")
        assert label.mode == "P"
        assert label.size == (size[1], size[0])
        assert label.getpalette()[:6] == [*COLORS[0], *COLORS[1]]
        image = read(inputs / f"{name}.png")
        expected = predict_logits(network, image[None]).argmax(1)[0]
        assert np.array_equal(np.asarray(label), expected)
        over = np.asarray(Image.open(tmp_path / "out" / "overlays" / f"{name}.png"))
        assert np.array_equal(over, pictures.overlay(image, expected, COLORS))
    assert not list((tmp_path / "out").rglob(".*"))


def test_result_has_the_images_size_whatever_the_networks(tmp_path, network):
    noise(tmp_path / "x.jpg", (50, 70))
    options = Predict(tmp_path, (tmp_path / "x.jpg",), tmp_path / "out", size=(36, 48))
    assert predict.run(options) == 0
    assert network.sizes == [(36, 48)]
    assert Image.open(tmp_path / "out" / "labels" / "x.png").size == (70, 50)
    assert Image.open(tmp_path / "out" / "overlays" / "x.jpg").size == (70, 50)


def test_outlines_a_legend_and_the_confidence(tmp_path, network):
    half = np.zeros((90, 120, 3), np.uint8)
    half[:, 60:] = 255
    Image.fromarray(half).save(tmp_path / "x.png")
    given = (tmp_path, (tmp_path / "x.png",), tmp_path / "out")
    more = {"outlines": True, "legend": True, "confidence": True}
    assert predict.run(Predict(*given, overlay="png", opacity=0.0, **more)) == 0
    drawn = np.asarray(Image.open(tmp_path / "out/overlays/x.png"))
    above, below = drawn[:90], drawn[90:]
    assert below.shape[0] > 10
    wanted = half.copy()
    wanted[:, 59], wanted[:, 60] = COLORS  # a pixel on either side of the border
    assert np.array_equal(above, wanted)
    for color in COLORS:
        assert (below == color).all(-1).sum() > 50
    brightness = predict_logits(network, read(tmp_path / "x.png")[None])[0]
    sure = brightness.softmax(0).amax(0).mul(255).round()
    found = np.asarray(Image.open(tmp_path / "out/confidence/x.png"))
    assert np.abs(found - sure.numpy()).max() <= 1
    noise(tmp_path / "out/confidence/y.png", (32, 32))
    clash = Predict(tmp_path, (tmp_path / "out/confidence/y.png",), tmp_path / "out", **more)
    with pytest.raises(ValueError, match="must not overwrite"):
        predict.run(clash)


def test_unreadable_files_are_named_skipped_and_counted(tmp_path, network, capsys):
    inputs = tmp_path / "in"
    good = noise(inputs / "good.png", (32, 32))
    (inputs / "text.png").write_text("this is no image")
    (inputs / "cut.png").write_bytes((inputs / "good.png").read_bytes()[:500])
    Image.fromarray(good[..., 0].astype(np.int32) * 200).save(inputs / "deep.tif")
    missing = tmp_path / "missing.png"
    assert predict.run(Predict(tmp_path, (inputs, missing), tmp_path / "out")) == 1
    out, err = capsys.readouterr()
    for name in ("text.png", "cut.png", "missing.png"):
        assert f"{name} must be a readable image" in err
    assert "2 of 5 images segmented" in out
    written = sorted(path.name for path in (tmp_path / "out" / "labels").iterdir())
    assert written == ["deep.png", "good.png"]


def test_inputs_are_not_overwritten(tmp_path, network):
    given = tmp_path / "labels" / "a.png"
    noise(given, (32, 32))
    before = given.read_bytes()
    with pytest.raises(ValueError, match="must not overwrite an input"):
        predict.run(Predict(tmp_path, (given,), tmp_path))
    assert given.read_bytes() == before


def test_images_of_one_name_have_different_outputs(tmp_path, network):
    names = ("in/a.JPG", "in/a.png", "in/b.png", "more/a.png", "x/more/a.png", "in/B.jpg")
    for number, name in enumerate(names):
        noise(tmp_path / name, (32, 32 + number))
    images = tuple(tmp_path / name for name in names)
    assert predict.run(Predict(tmp_path, images, tmp_path / "out", overlay="none")) == 0
    widths = {}
    for file in (tmp_path / "out" / "labels").iterdir():
        with Image.open(file) as picture:
            widths[file.stem] = picture.width - 32
    assert widths == {
        "a.JPG": 0, "in-a.png": 1, "b.png": 2, "4-more-a.png": 3, "5-more-a.png": 4, "B.jpg": 5,
    }  # fmt: skip
    limited = Predict(tmp_path, images[:3], tmp_path / "few", overlay="none", limit=1)
    assert predict.run(limited) == 0
    assert [file.name for file in (tmp_path / "few" / "labels").iterdir()] == ["a.JPG.png"]


def test_errors(tmp_path, network):
    noise(tmp_path / "in" / "a.png", (32, 32))
    (tmp_path / "empty").mkdir()
    for options, message in (
        (Predict(tmp_path, (tmp_path / "empty",)), "got none in"),
        (Predict(tmp_path, (tmp_path / "in",), opacity=2.0), "opacity must be"),
    ):
        with pytest.raises(ValueError, match=message):
            predict.run(options)


def test_images_of_every_mode(tmp_path):
    values = noise(tmp_path / "rgb.png", (4, 6))
    picture = Image.fromarray(values)
    for mode in ("L", "P", "RGBA", "1", "CMYK"):
        path = tmp_path / f"{mode}.{'tif' if mode == 'CMYK' else 'png'}"
        picture.convert(mode).save(path)
        assert read(path).shape == (3, 4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    picture.save(tmp_path / "turned.png", exif=exif)
    assert read(tmp_path / "turned.png").shape == (3, 6, 4)


def test_crf_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.delitem(sys.modules, "pydensecrf.densecrf", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tel-segmentation\[crf\]'"):
        DenseCrf()


def test_crf_gives_the_library_bytes_energies_and_its_parameters(monkeypatch):
    calls = tel_crf.install(monkeypatch, lambda energy: np.exp(-energy))
    image = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    probabilities = torch.rand(4, 5, 7).softmax(0)
    crf = DenseCrf()
    assert torch.allclose(crf(image, probabilities), probabilities, atol=1e-6)
    assert calls["size"] == (7, 5, 4)
    assert calls["iterations"] == 10
    assert calls["gaussian"] == {"sxy": 1.0, "compat": 3.0}
    rgb = calls["bilateral"].pop("rgbim")
    assert calls["bilateral"] == {"sxy": 67.0, "srgb": 3.0, "compat": 4.0}
    assert np.array_equal(rgb, image.permute(1, 2, 0))
    assert rgb.flags["C_CONTIGUOUS"]
    with pytest.raises(ValueError, match="uint8"):
        crf(image.float(), probabilities)


def test_crf_of_the_real_library_follows_the_image():
    pytest.importorskip("pydensecrf.densecrf")
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    image[:, :, 10:] = 200
    probabilities = torch.full((2, 20, 20), 0.4)
    probabilities[0, :, :10] = probabilities[1, :, 10:] = 0.6
    probabilities[:, 5, 5] = torch.tensor([0.45, 0.55])  # one pixel disagrees with its side
    label = DenseCrf()(image, probabilities).argmax(0)
    assert not label[:, :10].any()
    assert label[:, 10:].all()


def test_pictures_refuse_what_they_cannot_show():
    with pytest.raises(ValueError, match=r"label must be in 0\.\.1"):
        pictures.indexed(np.array([[0, 2]]), COLORS)
    with pytest.raises(ValueError, match="image must be"):
        pictures.as_rgb(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="label must have the image's size"):
        pictures.overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((3, 3)), COLORS)
    with pytest.raises(ValueError, match="must be a panel"):
        pictures.tiles(Image.new("RGB", (100, 100)))


def test_a_panel_comes_apart_again():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, 30, 40), dtype=np.uint8)
    truth = torch.from_numpy(rng.integers(-1, 2, (30, 40)))
    sparse = np.full((30, 40), -1)
    sparse[10, 10] = 1
    coarse = rng.integers(0, 2, (15, 20))
    whole = pictures.panel(image, sparse, truth.clamp_min(0), None, coarse, truth, COLORS)
    parts = pictures.tiles(whole)
    assert tuple(parts) == pictures.COLUMNS
    factor = parts["image"].width // 40
    assert parts["image"].height == 30 * factor > 150

    def small(name):
        return np.asarray(parts[name])[factor // 2 :: factor, factor // 2 :: factor]

    assert np.array_equal(small("image"), np.moveaxis(image, 0, -1))
    assert np.array_equal(small("truth"), pictures.colorize(truth, COLORS))
    assert (small("truth")[truth.numpy() < 0] == pictures.VOID).all()
    expected = pictures.colorize(coarse.repeat(2, 0).repeat(2, 1), COLORS)
    assert np.array_equal(small("pseudo label, final"), expected)
    marked = (small("annotation") == COLORS[1]).all(-1)
    assert np.argwhere(marked).tolist() == [[10, 10]]
    assert len(np.unique(small("pseudo label, low").reshape(-1, 3), axis=0)) < 60  # blank, "none"
    array = np.asarray(pictures.panel(image, sparse, truth, None, coarse, truth, COLORS))
    assert array.dtype == np.uint8
    assert array.shape == (whole.height, whole.width, 3)


def test_failures_show_what_is_wrong():
    image = np.full((40, 50, 3), 100, np.uint8)
    truth = np.zeros((40, 50), int)
    truth[:, 25:] = 1
    truth[:3] = -1
    prediction = np.zeros((40, 50), int)
    parts = pictures.tiles(pictures.failure(image, truth, prediction, COLORS), pictures.FAILURE)
    scale = parts["errors"].width // 50
    errors, shown = (
        np.asarray(parts[name])[scale // 2 :: scale, scale // 2 :: scale]
        for name in ("errors", "truth")
    )
    red = (errors == pictures.ERROR).all(-1)
    assert np.array_equal(red, (truth >= 0) & (truth != prediction))
    assert (errors[:3] == pictures.VOID).all()
    assert np.array_equal(shown, pictures.colorize(truth, COLORS))
    sparse = np.where(np.arange(40)[:, None] == 20, truth, -1)
    parts = pictures.tiles(pictures.failure(image, sparse, prediction, COLORS), pictures.FAILURE)
    errors = np.asarray(parts["errors"])[scale // 2 :: scale, scale // 2 :: scale]
    assert np.argwhere((errors == pictures.ERROR).all(-1)).tolist() == [
        [20, column] for column in range(25, 50)
    ]


def test_points_on_a_photograph_are_drawn_so_that_they_can_be_seen():
    sparse = np.full((180, 240), -1)
    sparse[0, 0] = sparse[90, 100] = 1
    drawn = pictures.draw_annotation(np.zeros((180, 240, 3), np.uint8), sparse, COLORS)
    marked = (drawn == COLORS[1]).all(-1)
    assert 4 < marked.sum() < 40
    assert not marked[-1].any()  # nothing wraps around
    assert not marked[:, -1].any()


def test_what_cannot_be_read_or_held_is_skipped(tmp_path, network, capsys, monkeypatch):
    inputs = tmp_path / "in"
    noise(inputs / "a.png", (33, 57))
    noise(inputs / "large.png", (33, 58))
    noise(inputs / "larger.png", (33, 59))
    (inputs / "._a.png").write_bytes(b"a Finder's file")
    (inputs / "link.png").symlink_to("nowhere.png")
    os.mkfifo(inputs / "pipe.png")
    errors = {
        58: RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        59: MemoryError(),
    }

    def logits(trained, image, options):
        if error := errors.get(image.shape[2]):
            raise error
        return calculated(trained, image, options)

    calculated = predict._logits
    monkeypatch.setattr(predict, "_logits", logits)
    assert predict.run(Predict(tmp_path, (inputs,), tmp_path / "out")) == 1
    out, err = capsys.readouterr()
    assert "1 of 5 images segmented" in out
    for line in ("large.png must fit into memory", "larger.png must fit into memory",
                 "link.png must be a readable image", "got: a FIFO"):  # fmt: skip
        assert sum(line in x for x in err.splitlines()) == 1
    errors[57] = RuntimeError("a mistake in the program")
    with pytest.raises(RuntimeError, match="a mistake"):
        predict.run(Predict(tmp_path, (inputs / "a.png",), tmp_path / "out"))
