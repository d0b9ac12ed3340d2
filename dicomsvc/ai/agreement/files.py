"""Compares annotators' files, and writes what most of them say in the same kind of file."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dicomsvc.ai.agreement.comparing import PixelTally, RatingsReport, ThingsReport, ThingsTally, compare_labels
from dicomsvc.ai.agreement.consensus import consensus_things, majority_mask, vote
from dicomsvc.ai.agreement.kappa import Weights
from dicomsvc.ai.agreement.sources import (
    CLASSES,
    LABELS,
    UNKNOWN_CLASS,
    Kind,
    LabelPicture,
    kind_of,
    label_files,
    names_of,
    read_labels,
    read_outlines,
    read_table,
)
from dicomsvc.ai.agreement.things import LEAST_IOU, Thing, outline_of, things_of, things_of_marks
from dicomsvc.errors import BadRequest

Tell = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class FilesReport:
    """``units``: classes by id; ``pixels``: of ``pictures`` pictures; ``things``: what was drawn."""

    kind: Kind
    annotators: tuple[str, ...]
    pictures: int
    units: RatingsReport | None = None
    pixels: RatingsReport | None = None
    things: ThingsReport | None = None
    kept: int | None = None
    """Things of the consensus."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """``consensus`` is where to write what most say, a new folder or file; None for nowhere."""

    files: Sequence[Path]
    consensus: Path | None = None
    least_iou: float = LEAST_IOU
    weights: Weights = Weights.NONE
    tell: Tell = lambda done, total, what: None

    def run(self) -> FilesReport:
        """Compare.

        Raises
        ------
        BadRequest
            When the files cannot be read or compared, or the consensus is there already.
        TooLarge
            When there is more drawn than memory holds.
        """
        kind = kind_of(self.files)
        if self.consensus is not None and self.consensus.exists():
            raise BadRequest(f"{self.consensus} exists; a consensus replaces nothing")
        names = names_of(self.files)
        compare = {Kind.TABLES: self._tables, Kind.OUTLINES: self._outlines, Kind.FOLDERS: self._folders}
        return compare[kind](names)

    def _tables(self, names: list[str]) -> FilesReport:
        tables = [read_table(file) for file in self.files]
        ids = list(dict.fromkeys(each for table in tables for each in table))
        labels = [[table.get(each) for table in tables] for each in ids]
        if self.consensus is not None:
            with self.consensus.open("w", encoding="utf-8", newline="") as lines:
                writer = csv.writer(lines, lineterminator="\n")
                writer.writerow(["id", "class", "votes", "of"])
                for each, row in zip(ids, labels, strict=True):
                    most = vote(row)
                    writer.writerow([each, most.label or "", most.votes, most.of])
        return FilesReport(Kind.TABLES, tuple(names), 0, units=compare_labels(names, labels, self.weights))

    def _outlines(self, names: list[str]) -> FilesReport:
        drawings, pixel = things_of_marks([read_outlines(file) for file in self.files])
        tally = ThingsTally(names, self.least_iou, self.weights)
        kept = consensus_things(tally.add(drawings), len(names))
        if self.consensus is not None:
            document = {"type": "FeatureCollection", "features": [_feature(thing, pixel) for thing in kept]}
            self.consensus.write_text(json.dumps(document) + "\n", encoding="utf-8")
        return FilesReport(Kind.OUTLINES, tuple(names), 1, things=tally.report(), kept=len(kept))

    def _folders(self, names: list[str]) -> FilesReport:
        found = [label_files(folder) for folder in self.files]
        pictures = sorted({name for each in found for name in each if sum(name in other for other in found) > 1})
        if not pictures:
            raise BadRequest("no picture has labels in two of the folders")
        things, pixels, total = ThingsTally(names, self.least_iou, self.weights), PixelTally(len(names)), 0
        for number, name in enumerate(pictures, 1):
            read = [
                read_labels(folder, name) if name in each else None
                for folder, each in zip(self.files, found, strict=True)
            ]
            shapes = {each.things.shape for each in read if each is not None}
            if len(shapes) > 1:
                raise BadRequest(f"the labels of {name} differ in size")
            kept = consensus_things(
                things.add([_things(each) for each in read]), sum(each is not None for each in read)
            )
            pixels.add([None if each is None else each.classes for each in read])
            total += len(kept)
            if self.consensus is not None:
                self._write(name, kept, shapes.pop(), read)
            self.tell(number, len(pictures), name)
        return FilesReport(
            Kind.FOLDERS, tuple(names), len(pictures), pixels=pixels.report(names), things=things.report(), kept=total
        )

    def _write(
        self, name: str, kept: Sequence[Thing], shape: tuple[int, ...], read: Sequence[LabelPicture | None]
    ) -> None:
        assert self.consensus is not None
        labels = np.zeros(shape, np.uint16)
        for number, thing in enumerate(kept, 1):
            rows, columns = thing.mask.shape
            part = labels[thing.row : thing.row + rows, thing.column : thing.column + columns]
            part[thing.mask & (part == 0)] = number
        _save(labels, self.consensus / LABELS / f"{name}.png")
        present = [each for each in read if each is not None]
        if any(each.has_classes for each in present):
            voted = majority_mask([each.classes for each in present], unknown=-1, undecided=UNKNOWN_CLASS)
            _save(voted, self.consensus / CLASSES / f"{name}.png")


def _things(read: LabelPicture | None) -> list[Thing] | None:
    if read is None:
        return None
    return things_of(read.things, np.maximum(read.classes, 0) if read.has_classes else None)


def _feature(thing: Thing, pixel: float) -> dict[str, Any]:
    ring = (outline_of(thing) * pixel).round(2).tolist()
    properties: dict[str, Any] = {"objectType": "annotation"}
    if thing.label:
        properties["classification"] = {"name": thing.label}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": properties,
    }


def _save(picture: npt.NDArray[Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(file)
