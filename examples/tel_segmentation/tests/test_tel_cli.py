"""The command line, as a user types it."""

import json
import os
import re
import subprocess
import sys

import pytest
import tel_runs
from PIL import Image

from tel_segmentation import cli
from tel_segmentation.commands import train

SMALL = [
    "train", "smoke", "--iterations", "2", "--no-tensorboard", "--threads", "1", "--device", "cpu",
    "--data.train", "4", "--data.val", "2", "--data.test", "2",
]  # fmt: skip


def test_overview(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"tel {name}" in text for name in cli.COMMANDS)
    assert cli.main([]) == 2
    assert cli.main(["tarin"]) == 2
    assert "no command 'tarin'" in capsys.readouterr().err


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert len(capsys.readouterr().out) > 300


def test_a_reader_that_leaves_early(tmp_path):
    """As ``tel experiments | head -1`` does: no message, and the status that a shell gives."""
    reader, writer = os.pipe()
    os.close(reader)
    program = "import sys; from tel_segmentation import cli; sys.exit(cli.main(['experiments']))"
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True,
        cwd=tmp_path, env=tel_runs.environment(), timeout=120,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_streams_that_are_closed(tmp_path):
    """What is printed reaches no file that is opened afterwards."""
    program = f"""
import os, sys
from tel_segmentation import cli

def run(*_):
    with open({str(tmp_path / "file")!r}, "w"):
        print("to standard output")
        os.write(2, b"from native code")
    return 0

cli._run = run
sys.exit(cli.main(["experiments"]))
"""
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program]
    assert subprocess.run(command, timeout=120).returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_presets_and_their_fields_are_in_the_help(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    assert "photos" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["train", "photos", "--help"])
    basic = capsys.readouterr().out
    assert set(re.findall(r"(?<!-)--([a-z][a-z.-]+)", basic)) == {
        "help", "help-all", *(name.replace("_", "-") for name in train.BASIC),
    }  # fmt: skip
    assert len(basic.splitlines()) <= 70
    assert "All options: tel train photos --help-all" in basic
    with pytest.raises(SystemExit):
        cli.main(["train", "scenes", "--help-all"])
    text = capsys.readouterr().out
    for name in (*train.BASIC, "optimizer.lr", "loss.tel.level", "eval_every"):
        assert f"--{name.replace('_', '-')}" in text


def test_from_training_to_the_report(tmp_path, capsys):
    run = tmp_path / "runs" / "tel"
    assert cli.main([*SMALL, "--output", str(run), "--loss.tel.sigma", "0.01"]) == 0
    assert "mIoU" in capsys.readouterr().out
    saved = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert saved["loss"]["tel"]["sigma"] == 0.01
    assert cli.main([*SMALL, "--output", str(run)]) == 2
    assert "has a run already" in capsys.readouterr().err
    assert cli.main(["train", "--resume", str(run)]) == 0

    assert cli.main(["evaluate", str(run), "--split", "test", "--device", "cpu"]) == 0
    result = json.loads((run / "evaluation-test-last.json").read_text(encoding="utf-8"))
    record = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["miou"] == pytest.approx(record["evaluation"]["last"]["miou"])

    photo = tmp_path / "a photo.png"
    Image.radial_gradient("L").resize((70, 50)).convert("RGB").save(photo)
    output = tmp_path / "segmented"
    assert cli.main(["predict", str(run), str(photo), "--output", str(output)]) == 0
    labels = [p for p in output.rglob("*.png") if Image.open(p).mode == "P"]
    assert [Image.open(p).size for p in labels] == [(70, 50)]

    page = tmp_path / "report.html"
    assert cli.main(["report", str(run), "--output", str(page)]) == 0
    assert "TEL low+high" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--resume", "nowhere"], "nowhere"),
        ([*SMALL, "--data.source", "scenes:hardest"], "preset"),
        ([*SMALL, "--data.source", "nowhere.toml"], "nowhere.toml"),
        ([*SMALL, "--model.name", "resnet19"], "resnet18"),
        ([*SMALL, "--model.weights", "nowhere.pt"], "weights"),
        (["evaluate", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["annotate", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tel {arguments[0]}: ")
    assert message in error
    assert "Traceback" not in error


def test_as_a_process(tmp_path):
    done = tel_runs.tel("train", "smoke", "--loss.method", "magic", folder=tmp_path)
    assert done.returncode == 2
    assert "magic" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
