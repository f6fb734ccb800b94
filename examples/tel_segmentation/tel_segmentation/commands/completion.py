"""``tel --install-completion``: commands, presets and options complete with the Tab key."""

from __future__ import annotations

import os
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tel_segmentation import presets

SHELLS = ("bash", "zsh", "fish")
FILES = """
_tel_or_files() { _tyro_tel; [[ -n "${COMPREPLY[*]}" ]] || COMPREPLY=(); }
complete -o default -F _tel_or_files tel
"""
"""For bash: where tyro's script has nothing to offer, names of files."""


def install(commands: dict[str, type], shell: str | None = None) -> Path:
    """Writes the script where the shell looks for it; by default for the shell in ``$SHELL``.

    ``commands`` are the options of each command but ``train``, whose options are the presets'.

    The script knows the options as they are now, and imports nothing: it has to be written anew
    after an update of the package.

    Raises:
        ValueError: the shell is not known.
    """
    shell = Path(os.environ.get("SHELL", "")).name if shell is None else shell
    if shell not in SHELLS:
        expected = ", ".join(SHELLS)
        raise ValueError(f"shell must be one of {expected}, got {shell!r}")
    path = place(shell)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"train": _train(), **commands},
            prog="tel",
            args=["--tyro-write-completion", shell, str(path)],
        )
    except SystemExit as stop:  # after it has written the file
        if stop.code:
            raise ValueError(f"shell must be one that tyro knows, got {shell!r}") from None
    script = _in_single_lines(path.read_text(encoding="utf-8"))
    path.write_text(script + FILES if shell == "bash" else script, encoding="utf-8")
    return path


def _in_single_lines(script: str) -> str:
    """The script with descriptions of a line each: it prints completions line by line."""
    return "".join(
        line.replace("\\n", " ") if line.startswith("COMPLETION_SPEC = ") else line
        for line in script.splitlines(keepends=True)
    )


def place(shell: str) -> Path:
    """Where the script is: bash, with bash-completion, and fish find it there by themselves."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "bash": data / "bash-completion" / "completions" / "tel",
        "zsh": data / "zsh" / "site-functions" / "_tel",
        "fish": config / "fish" / "completions" / "tel.fish",
    }[shell]


def _train() -> type:
    """The options of ``tel train``, which itself chooses between two sets of them."""
    preset = tyro.extras.subcommand_type_from_defaults(
        {name: options for name, (_, options) in presets.PRESETS.items()}, prefix_names=False
    )
    return make_dataclass(
        "Train",
        [
            ("preset", Annotated[preset, tyro.conf.arg(name="")]),
            ("resume", Path | None, field(default=None)),
        ],
    )
