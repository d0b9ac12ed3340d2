"""``model.py``: the file that Triton runs for each model. It is code, so only ours is taken unasked."""

import hashlib
from pathlib import Path

from dicomsvc.ai.catalogue.files import read_text_file

TEMPLATE = Path(__file__).parents[1] / "triton" / "model_template.py"


def template() -> bytes:
    """Return the runner that comes with dicomsvc."""
    return TEMPLATE.read_bytes()


def runner_digest(version: Path) -> str | None:
    """Return the SHA-256 (hex) of a version folder's own ``model.py``; None when it has none, or ours."""
    path = version / "model.py"
    if not path.is_symlink() and not path.exists():
        return None
    content = read_text_file(path)
    return None if content == template() else hashlib.sha256(content).hexdigest()


def runner(version: Path, trusted: frozenset[str]) -> bytes:
    """Return what Triton is to run for a version folder: its own file where that is trusted, else ours."""
    digest = runner_digest(version)
    return read_text_file(version / "model.py") if digest is not None and digest in trusted else template()
