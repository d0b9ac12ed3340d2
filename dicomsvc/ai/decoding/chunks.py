"""The findings of one chunk of tiles, in memory and as a file that a resumed job reads again."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.findings import Instances
from dicomsvc.errors import DamagedFile
from dicomsvc.wsi.plan import Rectangle

Array = npt.NDArray[Any]
_DIGEST: Final = "sha256"
_COLUMNS: Final = ("class_index", "centroids", "probability", "offsets", "outline")


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """Values of the plane's cells in one rectangle.

    ``place`` counts cells, ``cell`` is a cell's width and height in plane pixels; ``values`` is ``(rows, columns)`` or
    ``(rows, columns, channels)``. Where no tile was looked at there is 0, in float32 rasters NaN, in images 255.
    """

    place: Rectangle
    cell: int
    values: Array


@dataclass(frozen=True, slots=True, eq=False)
class Seam:
    """What `dicomsvc.ai.decoding.join_instances` needs to make one thing of two views of it at a chunk's border.

    ``rows`` int64: which of the chunk's instances lie at its border; ``candidates``: things seen there whose centroid
    lies in a tile of another chunk. ``tile`` and ``home`` int64, ``depth`` float32 are columns of both, the rows'
    first: which tile saw it, which one's core holds its centroid (tiles count in the plane's grid of cores), and how
    deep in the seeing tile's core it lies. ``apart`` is how near, in slide pixels, two points are one.
    """

    rows: npt.NDArray[np.int64]
    candidates: Instances
    tile: npt.NDArray[np.int64]
    home: npt.NDArray[np.int64]
    depth: npt.NDArray[np.float32]
    apart: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class ChunkFindings:
    """What was found in one chunk; ``area`` in plane pixels."""

    number: int
    area: Rectangle
    instances: Instances | None = None
    seam: Seam | None = None
    rasters: Mapping[str, Raster] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write one ``.npz`` file; it appears as a whole and durably, or not at all."""
        head, arrays = self._flat()
        arrays["head"] = np.frombuffer(json.dumps(head, sort_keys=True).encode(), np.uint8)
        arrays[_DIGEST] = np.frombuffer(_digest(arrays), np.uint8)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with draft.open("wb") as file:
                _write(file, arrays)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        DamagedFile
            When the bytes are not those that were written.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            digest = arrays.pop(_DIGEST).tobytes()
            if digest != _digest(arrays):
                raise ValueError("digest")
            return cls._of(json.loads(arrays["head"].tobytes()), arrays)
        except FileNotFoundError:
            raise
        except Exception as error:  # border: readers of zip, npy and JSON raise whatever they like
            raise DamagedFile(f"findings {path.name} cannot be read ({type(error).__name__})") from error

    def _flat(self) -> tuple[dict[str, Any], dict[str, Array]]:
        head: dict[str, Any] = {"number": self.number, "area": _numbers(self.area), "rasters": {}}
        arrays: dict[str, Array] = {}
        if self.instances is not None:
            arrays |= dict(_instance_arrays("instances", self.instances))
        if self.seam is not None:
            head["apart"] = self.seam.apart
            arrays |= {f"seam.{name}": getattr(self.seam, name) for name in ("rows", "tile", "home", "depth")}
            arrays |= dict(_instance_arrays("candidates", self.seam.candidates))
        for name, raster in self.rasters.items():
            head["rasters"][name] = {"place": _numbers(raster.place), "cell": raster.cell}
            arrays[f"raster.{name}"] = raster.values
        return head, arrays

    @classmethod
    def _of(cls, head: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        seam = None
        if "apart" in head:
            columns = {name: arrays[f"seam.{name}"] for name in ("rows", "tile", "home", "depth")}
            seam = Seam(candidates=_instances("candidates", arrays), apart=head["apart"], **columns)
        rasters = {
            name: Raster(Rectangle(*entry["place"]), entry["cell"], arrays[f"raster.{name}"])
            for name, entry in head["rasters"].items()
        }
        has_instances = "instances.offsets" in arrays
        return cls(
            head["number"],
            Rectangle(*head["area"]),
            _instances("instances", arrays) if has_instances else None,
            seam,
            rasters,
        )


def _numbers(area: Rectangle) -> list[int]:
    return [area.x, area.y, area.width, area.height]


def _instance_arrays(prefix: str, instances: Instances) -> Iterator[tuple[str, Array]]:
    for name in _COLUMNS:
        yield f"{prefix}.{name}", getattr(instances, name)
    for name, values in instances.measurements.items():
        yield f"{prefix}.measurement.{name}", values


def _instances(prefix: str, arrays: Mapping[str, Array]) -> Instances:
    start = f"{prefix}.measurement."
    measurements = {name.removeprefix(start): arrays[name] for name in arrays if name.startswith(start)}
    columns: dict[str, Any] = {name: arrays[f"{prefix}.{name}"] for name in _COLUMNS}
    return Instances(**columns, measurements=measurements)


def _digest(arrays: Mapping[str, Array]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data.cast("B") if array.size else b"")
    return digest.digest()


def _write(file: Any, arrays: Mapping[str, Array]) -> None:
    """Write a zip of ``.npy`` members; class maps and pictures, which shrink well, compressed."""
    # Level 1: nearly four times faster than the usual 6; the files live only as long as the job.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            shrinks = name.startswith("raster.") and array.dtype == np.uint8
            member = f"{name}.npy" if shrinks else zipfile.ZipInfo(f"{name}.npy")
            with archive.open(member, "w", force_zip64=True) as target:
                np.lib.format.write_array(target, np.ascontiguousarray(array), allow_pickle=False)
