"""`twofold completion`: the shells themselves complete with what it prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

# Each asks its shell what follows `twofold de`, with the script in $1.
ASK = {
    "bash": 'source "$1"; COMP_WORDS=(twofold de); COMP_CWORD=1; _twofold_completion twofold;'
    ' printf "%s\\n" "${COMPREPLY[@]}"',
    # What would be shown in a menu is printed: there is no terminal.
    "zsh": 'compdef() { }; _describe() { print -rl -- "${(P@)3}"; }; words=(twofold de); CURRENT=2;'
    ' source "$1"; _twofold_completion',
    "fish": 'source $argv[1]; complete --do-complete "twofold de"',
}
ARGUMENTS = {
    "bash": ["--norc", "-c", ASK["bash"], "bash"],
    "zsh": ["-fc", ASK["zsh"], "zsh"],
    "fish": ["-c", ASK["fish"]],
}


@pytest.mark.parametrize("shell", ASK)
def test_the_shell_completes_a_command(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    assert program, f"There is no {shell} here. Install it with: apt-get install zsh fish"
    command, script = tmp_path / "twofold", tmp_path / "script"
    command.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m app.cli "$@"\n')
    command.chmod(0o755)
    environ = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    script.write_bytes(
        subprocess.run([command, "completion", shell], env=environ, capture_output=True, check=True).stdout
    )
    asked = [program, *ARGUMENTS[shell], str(script)]
    done = subprocess.run(asked, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert {line.split("\t")[0].split(":")[0].strip() for line in done.stdout.splitlines()} == {"deliveries"}, (
        done.stderr
    )
