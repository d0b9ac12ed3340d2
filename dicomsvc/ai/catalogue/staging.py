"""The one folder that our own Triton is started on: copies of the enabled models, as they were when they were staged.

Copies, so that a change to a model's folder reaches the server only together with the manifest that tells of it. Each
file is replaced at once, and only when its content differs; Triton looks at it when a model is loaded.
"""

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from dicomsvc.ai.catalogue.files import weights_digest
from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.catalogue.runner import runner
from dicomsvc.ai.catalogue.triton_config import read_config, served_text
from dicomsvc.errors import OutOfResources


def stage_models(
    repository: Path, models: Sequence[tuple[Path, Sequence[Manifest]]], trusted: frozenset[str], instances: int
) -> list[str]:
    """Bring ``repository`` to the state of the models' folders, and return the names of those that changed.

    Raises
    ------
    OutOfResources
        When it cannot be written.
    """
    try:
        repository.mkdir(mode=0o700, parents=True, exist_ok=True)
        changed = [
            manifests[0].name
            for folder, manifests in models
            if _stage(repository / manifests[0].name, folder, manifests, trusted, instances)
        ]
        wanted = {manifests[0].name for _, manifests in models}
        for entry in repository.iterdir():
            if entry.name not in wanted:
                _remove(entry)
    except OSError as error:
        raise OutOfResources(f"{repository} cannot be written: {os.strerror(error.errno or 0)}") from error
    return changed


def _stage(target: Path, folder: Path, manifests: Sequence[Manifest], trusted: frozenset[str], instances: int) -> bool:
    changed = False
    for manifest in manifests:
        source, version = folder / str(manifest.number), target / str(manifest.number)
        version.mkdir(parents=True, exist_ok=True)
        changed |= _copy_weights(source / "model.onnx", version / "model.onnx", manifest.weights_sha256)
        changed |= _write(version / "model.py", runner(source, trusted))
    name = manifests[0].name
    text = served_text(read_config(folder / "config.pbtxt", name), name, instances)
    changed |= _write(target / "config.pbtxt", text.encode())
    kept = {"config.pbtxt", *(str(manifest.number) for manifest in manifests)}
    for entry in target.iterdir():
        if entry.name not in kept:
            changed = True
            _remove(entry)
    return changed


def _copy_weights(source: Path, target: Path, digest: str) -> bool:
    if target.is_file() and weights_digest(target) == digest:
        return False
    draft = target.with_name(f".{secrets.token_hex(4)}")
    shutil.copyfile(source, draft)
    draft.replace(target)
    return True


def _write(target: Path, content: bytes) -> bool:
    if target.is_file() and target.read_bytes() == content:
        return False
    draft = target.with_name(f".{secrets.token_hex(4)}")
    draft.write_bytes(content)
    draft.replace(target)
    return True


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
