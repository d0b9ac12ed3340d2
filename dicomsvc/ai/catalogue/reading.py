"""Reads a model folder and checks that what its files say agrees.

::

    nuclei/
      config.pbtxt      Triton's: tensors, largest batch
      model.toml        ours: what the model is, wants, gives
      1/model.onnx      the weights of version 1
      1/model.py        runs them on Triton; the same file in every model
      2/model.toml      goes before the one above for version 2

A folder is data that somebody else may have made: nothing of it is run here, and links are refused.
"""

import re
from pathlib import Path

from dicomsvc.ai.catalogue.agreement import check_tensors
from dicomsvc.ai.catalogue.fields import parse_document
from dicomsvc.ai.catalogue.files import read_text_file, require_folder, version_folders, weights_digest
from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.catalogue.manifest_file import take_manifest
from dicomsvc.ai.catalogue.onnx_graph import read_graph
from dicomsvc.ai.catalogue.triton_config import read_config
from dicomsvc.errors import InvalidModel

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MOST_VERSIONS = 100


def read_manifest(folder: Path) -> list[Manifest]:
    """Return the manifest of each version in a model folder, the lowest number first.

    Raises
    ------
    InvalidModel
        Naming file and line of what is wrong.
    """
    require_folder(folder)
    name = folder.resolve().name
    if not _NAME.fullmatch(name):
        raise InvalidModel(f"{folder}: a model's name has small letters, digits, _ and - only, 64 at most")
    config = read_config(folder / "config.pbtxt", name)
    versions = version_folders(folder)
    if len(versions) > _MOST_VERSIONS:
        raise InvalidModel(f"{folder}: has {len(versions)} versions; {_MOST_VERSIONS} is the limit")
    manifests = []
    for number, version in versions.items():
        file = version / "model.toml" if (version / "model.toml").exists() else folder / "model.toml"
        document = parse_document(str(file), read_text_file(file))
        weights = version / "model.onnx"
        manifest = take_manifest(document, name, number, weights_digest(weights), config.max_batch_size)
        check_tensors(document, manifest, config, weights, read_graph(weights))
        manifests.append(manifest)
    _check_versions(folder, manifests)
    return manifests


def _check_versions(folder: Path, manifests: list[Manifest]) -> None:
    seen: dict[str, int] = {}
    for manifest in manifests:
        if manifest.version in seen:
            raise InvalidModel(
                f"{folder / str(manifest.number)}: is version {manifest.version}, as {seen[manifest.version]} is; "
                "give it a model.toml of its own with another version"
            )
        seen[manifest.version] = manifest.number
