"""Takes a model folder into the catalogue: what it needs is copied, checked, and put in place at once."""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicomsvc.ai.catalogue.files import read_text_file, version_folders
from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.catalogue.runner import runner_digest
from dicomsvc.ai.catalogue.triton_config import read_config
from dicomsvc.errors import Conflict, InvalidModel, OutOfResources
from dicomsvc.store.layout import sync_folder


@dataclass(frozen=True, slots=True)
class Addition:
    """``numbers``: versions that are new. ``code``: digests of runners that are not ours."""

    name: str
    numbers: tuple[int, ...]
    code: frozenset[str]


def own_code(folder: Path) -> frozenset[str]:
    """Return the digests of a model folder's runners that are not ours."""
    digests = (runner_digest(version) for version in version_folders(folder).values())
    return frozenset(digest for digest in digests if digest is not None)


def put_model(source: Path, added: Path, *, trust_code: bool) -> Addition:
    """Copy a checked model folder below ``added``, or further versions of one that is there.

    Each version keeps a ``model.toml`` of its own. A version that is there with the same weights is left as it is.

    Raises
    ------
    InvalidModel
        When the folder is not right, or brings code and ``trust_code`` is not given.
    Conflict
        When a version is there with other weights, or the tensors differ from those of the versions there.
    """
    manifests = read_manifest(source)
    code = own_code(source)
    if code and not trust_code:
        raise InvalidModel(
            f"{source}: brings a model.py of its own, which is code that the model server would run; remove it (ours "
            "is then used), or read it and add the folder with --trust-code"
        )
    name = manifests[0].name
    target = added / name
    there = {manifest.number: manifest for manifest in read_manifest(target)} if target.exists() else {}
    fresh = _fresh(manifests, there)
    with _draft(added) as draft:
        if not fresh:
            return Addition(name, (), code)
        _copy(source, draft / name, fresh, with_code=bool(code))
        # Read again: what was checked above may have changed on the way.
        read_manifest(draft / name)
        if not there:
            (draft / name).rename(target)
        else:
            _require_same_tensors(source, target, name)
            for manifest in fresh:
                (draft / name / str(manifest.number)).rename(target / str(manifest.number))
            sync_folder(target)
        sync_folder(added)
    return Addition(name, tuple(manifest.number for manifest in fresh), code)


def _fresh(manifests: Sequence[Manifest], there: dict[int, Manifest]) -> list[Manifest]:
    fresh = []
    versions = {manifest.version: number for number, manifest in there.items()}
    for manifest in manifests:
        known = there.get(manifest.number)
        if known is None:
            if manifest.version in versions:
                raise Conflict(
                    f"model {manifest.name} has version {manifest.version} already, as {versions[manifest.version]}"
                )
            fresh.append(manifest)
        elif (known.weights_sha256, known.version) != (manifest.weights_sha256, manifest.version):
            raise Conflict(
                f"model {manifest.name}:{manifest.number} is there already and is another one ({known.version}); "
                "number the new version's folder higher"
            )
    return fresh


def _copy(source: Path, target: Path, manifests: Sequence[Manifest], *, with_code: bool) -> None:
    target.mkdir(parents=True)
    for name in ("config.pbtxt", "model.toml", "LICENSE", "README.md"):
        if (source / name).exists():
            (target / name).write_bytes(read_text_file(source / name))
    for manifest in manifests:
        version, copy = source / str(manifest.number), target / str(manifest.number)
        copy.mkdir()
        shutil.copyfile(version / "model.onnx", copy / "model.onnx", follow_symlinks=False)
        own = version / "model.toml"
        (copy / "model.toml").write_bytes(read_text_file(own if own.exists() else source / "model.toml"))
        if with_code and runner_digest(version) is not None:
            (copy / "model.py").write_bytes(read_text_file(version / "model.py"))


def _require_same_tensors(source: Path, target: Path, name: str) -> None:
    new, old = read_config(source / "config.pbtxt", name), read_config(target / "config.pbtxt", name)
    if (new.inputs, new.outputs) != (old.inputs, old.outputs):
        raise Conflict(f"model {name}: this folder's config.pbtxt has other tensors; versions share one, so rename it")


@contextmanager
def _draft(added: Path) -> Iterator[Path]:
    draft = added / f".draft-{secrets.token_hex(4)}"
    try:
        draft.mkdir(mode=0o700)
        yield draft
    except OSError as error:
        raise OutOfResources(f"{added} cannot be written: {os.strerror(error.errno or 0)}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def take_out(added: Path, place: str) -> None:
    """Remove the folder of an added model, or of one of its versions, at once."""
    grave = added / f".draft-{secrets.token_hex(4)}"
    (added / place).rename(grave)
    shutil.rmtree(grave, ignore_errors=True)
