"""The completion script, in a real shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from glmc_zoo.cli import _summaries
from glmc_zoo.completion import completion_script
from glmc_zoo.errors import UserError
from glmc_zoo.options.sections import COMMANDS


def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    script = tmp_path / "completion"
    script.write_text(completion_script("bash", _summaries()))

    def completed(*words: str) -> set[str]:
        text = f"""source {script}; COMP_WORDS=(glmc-zoo {" ".join(words)}); COMP_CWORD={len(words)}
        _shtab_glmc_zoo glmc-zoo "${{COMP_WORDS[-1]}}" "${{COMP_WORDS[-2]}}"; echo "${{COMPREPLY[@]}}" """
        return set(subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True).stdout.split())

    assert completed("''") >= {*COMMANDS, "list", "completion"}
    assert completed("train", "--meth") == {"--method"}
    assert completed("train", "--views", "''") >= {"mixup_cutmix", "mixup", "cutmix", "alternate"}
    assert completed("evaluate", "--quote") == {"--quote-formulas"}


def test_completion_of_an_unknown_shell_is_refused() -> None:
    with pytest.raises(UserError, match=r"'fish' is not known: give one of bash, zsh, tcsh"):
        completion_script("fish", {})
