"""The Tab key, as bash uses it."""

import shutil
import subprocess

import pytest

from tel_segmentation import cli


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.setenv("SHELL", "/usr/bin/bash")
        yield folder


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_presets_and_options(home, capsys):
    assert cli.main(["--install-completion"]) == 0
    script = home / "data" / "bash-completion" / "completions" / "tel"
    assert str(script) in capsys.readouterr().out

    def completed(*words):
        program = f"""
            source {script}
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            [[ $(complete -p tel) =~ "-o default -F "([^ ]*) ]] && ${{BASH_REMATCH[1]}}
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        command = ["bash", "-c", program, "bash", *words]
        return set(subprocess.run(command, capture_output=True, text=True).stdout.split())

    assert completed("tel", "tr") == {"train"}
    assert set(cli.COMMANDS) <= completed("tel", "")
    assert completed("tel", "train", "pho") == {"photos"}
    assert {"--loss.tel.sigma"} == completed("tel", "train", "photos", "--loss.tel.si")
    assert completed("tel", "annotate", "--kind", "s") == {"scribble"}
    assert completed("tel", "predict", "runs/") == set()  # then bash offers files


def test_other_shells(home, monkeypatch, capsys):
    assert cli.main(["--install-completion", "fish"]) == 0
    assert (home / "config" / "fish" / "completions" / "tel.fish").stat().st_size > 1000
    assert cli.main(["--install-completion", "zsh"]) == 0
    assert (home / "data" / "zsh" / "site-functions" / "_tel").stat().st_size > 1000
    assert "fpath+=" in capsys.readouterr().out
    assert cli.main(["--install-completion", "csh"]) == 2
    assert "must be one of bash, zsh, fish, got 'csh'" in capsys.readouterr().err
    monkeypatch.setenv("SHELL", "")
    assert cli.main(["--install-completion"]) == 2
