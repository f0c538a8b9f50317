"""Copies of the tree to take safeguards from: the product itself is never touched.

A copy holds every file that is tracked, or would be, as it lies in the folder now.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from tests.proof.ablations.patches import PatchError
from tests.proof.scorecard import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.proof.ablations.patches import Ablation

_TAKEN: Final = ("edge", "cloud", "protocol", "tests", "deploy", "firmware_sim", "pyproject.toml")
_CACHE: Final = "__pycache__"


def copy_tree(target: Path) -> Path:
    """A whole copy of what runs and what proves it, with the caches that spare compiling it again."""
    listed = _git("-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard", "--", *_TAKEN)
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():  # else it is deleted and not yet committed so
            _copy(source, target / name)
            if source.suffix == ".py":
                for cache in (source.parent / _CACHE).glob(f"{source.stem}.*.pyc"):
                    _copy(cache, (target / name).parent / _CACHE / cache.name)
    return target


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)  # with its times, by which Python knows that a cache is good


def without(ablation: Ablation, whole: Path, target: Path) -> Path:
    """A copy of the whole tree without this safeguard. Raises PatchError if the patch does not fit."""
    shutil.copytree(whole, target)
    apply(ablation, target)
    return target


def apply(ablation: Ablation, tree: Path, *, only_look: bool = False) -> None:
    """Apply the patch, exactly; or see whether it would apply. Raises PatchError."""
    look = ("--check",) if only_look else ()
    try:
        _git("-C", str(tree), "apply", *look, str(ablation.file.resolve()), around=tree.parent)
    except subprocess.CalledProcessError as error:
        raise PatchError(
            f"{ablation.name} does not apply any more, so nobody knows whether its safeguard still holds; "
            f"make the patch anew against the code as it is now. git says: {error.stderr.strip()}"
        ) from error
    if only_look:
        return
    for path in ablation.paths:
        for cache in (tree / path).parent.glob(f"{_CACHE}/{(tree / path).stem}.*.pyc"):
            cache.unlink()


def _git(*arguments: str, around: Path | None = None) -> str:
    """`around`: a folder beyond which git must not look for a repository."""
    environment = {**os.environ, **({"GIT_CEILING_DIRECTORIES": str(around)} if around else {})}
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, env=environment)
    return done.stdout
