"""Regions on disk: made, opened, listed, and removed when nobody has touched them for a week."""

import json
import os
import re
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from dicomsvc.ai.ihc.cells import CellTable, make_table
from dicomsvc.ai.ihc.drawing import png
from dicomsvc.ai.ihc.maps import Maps
from dicomsvc.ai.ihc.postprocess import SegPlanes, find_territories
from dicomsvc.ai.ihc.regions.region import Region, RegionCard
from dicomsvc.errors import Conflict, DamagedFile, NotFound, OutOfResources
from dicomsvc.store import Store
from dicomsvc.store.layout import sync_folder

KEEP_DAYS: Final = 7
MAX_REGIONS: Final = 500
_ID: Final = re.compile(r"[0-9a-f]{32}\Z")
_CARD: Final = "region.json"
_KEPT_PIXELS: Final = 60_000_000
_RING_UM: Final = 2.0
_DRAFT_SECONDS: Final = 3600
Plane = npt.NDArray[np.uint8]


class Regions:
    """The regions of a store; those opened last are kept in memory. Safe to use from several threads and processes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.root = store.layout.root / "ihc" / "regions"
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Region] = OrderedDict()

    def create(self, maps: Maps, card: Callable[[str, CellTable], RegionCard]) -> Region:
        """Keep a new region; ``card`` is told its id and its cells.

        Raises
        ------
        OutOfResources
            When the disk is nearly full, or there are too many regions.
        """
        self.require_room()
        identifier = secrets.token_hex(16)
        region = _made(maps, lambda table: card(identifier, table))
        folder = self.root / identifier
        try:
            folder.mkdir(0o700)
            for name, plane in _planes(maps).items():
                _write(folder / f"{name}.png", png(plane))
            _write(folder / _CARD, json.dumps(region.card.document()).encode())
            sync_folder(folder)
            sync_folder(self.root)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise OutOfResources(f"the region cannot be kept: {error.strerror}") from error
            raise
        self._remember(region)
        return region

    def require_room(self) -> None:
        """Raise `OutOfResources` when no region can be kept; removes those that are over first."""
        self.root.mkdir(0o700, parents=True, exist_ok=True)
        self.expire()
        if self._store.free_bytes() < self._store.settings.store.disk_reserve_mb << 20:
            raise OutOfResources("the store's disk is nearly full (store.disk_reserve_mb)")
        if sum(1 for _ in self.root.iterdir()) >= MAX_REGIONS:
            raise OutOfResources(f"there are {MAX_REGIONS} regions; delete some, or wait until old ones are removed")

    def folder(self, identifier: str) -> Path:
        """Return a region's folder.

        Raises
        ------
        NotFound
            When there is no such region.
        """
        folder = self.root / identifier
        if not _ID.match(identifier) or not (folder / _CARD).is_file():
            raise NotFound("there is no such region; it may have expired")
        return folder

    def card(self, identifier: str) -> RegionCard:
        """Return what a region is of; see `folder`."""
        try:
            return RegionCard.of(json.loads((self.folder(identifier) / _CARD).read_bytes()))
        except (OSError, ValueError) as error:
            raise DamagedFile("the description of a region cannot be read") from error

    def open(self, identifier: str) -> Region:
        """Return a region with its cells.

        Raises
        ------
        NotFound
            When there is no such region.
        DamagedFile
            When its files cannot be read.
        Conflict
            When another version of this software made it, whose cells were others.
        """
        folder = self.folder(identifier)
        with self._lock:
            if identifier in self._open:
                self._open.move_to_end(identifier)
                return self._open[identifier]
        card = self.card(identifier)
        region = _made(_read_maps(folder, card.mpp), lambda table: replace(card, cells=len(table)))
        if region.card.cells != card.cells:
            raise Conflict("another version of this software made this region; make it again")
        self._remember(region)
        return region

    def list(self) -> list[RegionCard]:
        """Return all regions, latest first."""
        found = []
        for folder in self.root.glob("*") if self.root.is_dir() else ():
            if (folder / _CARD).is_file():
                found.append(self.card(folder.name))
        return sorted(found, key=lambda card: card.created, reverse=True)

    def delete(self, identifier: str) -> None:
        """Remove a region; see `folder`."""
        folder = self.folder(identifier)
        with self._lock:
            self._open.pop(identifier, None)
        # Without its card it is no region any more, however far the removal comes.
        (folder / _CARD).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def touch(self, identifier: str) -> None:
        """Say that somebody works with a region: it is kept for another week."""
        os.utime(self.folder(identifier) / _CARD)

    def expire(self) -> None:
        """Remove regions that nobody has touched for long, and what is left of creations that failed."""
        now = time.time()
        for folder in self.root.iterdir():
            try:
                card = folder / _CARD
                age = now - (card if card.is_file() else folder).stat().st_mtime
                if age > (KEEP_DAYS * 86400 if card.is_file() else _DRAFT_SECONDS):
                    shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:
                continue

    def _remember(self, region: Region) -> None:
        with self._lock:
            self._open[region.card.id] = region
            while len(self._open) > 1 and sum(each.pixels for each in self._open.values()) > _KEPT_PIXELS:
                self._open.popitem(last=False)


def _made(maps: Maps, card: Callable[[CellTable], RegionCard]) -> Region:
    found = find_territories(maps.segmentation, maps.mpp)
    table = make_table(found, maps.mpp, maps.marker, maps.hematoxylin, ring_um=_RING_UM)
    return Region(card(table), maps, found, table)


def _planes(maps: Maps) -> dict[str, npt.NDArray[np.uint8]]:
    return {
        "picture": maps.picture,
        "seg": maps.segmentation.picture(),
        "hematoxylin": maps.hematoxylin,
        "marker": maps.marker,
        "dapi": maps.dapi,
        "lap2": maps.lap2,
    }


def _read_maps(folder: Path, mpp: float) -> Maps:
    picture, segmentation = (_read(folder / f"{name}.png", colour=True) for name in ("picture", "seg"))
    grey = [_read(folder / f"{name}.png") for name in ("hematoxylin", "marker", "dapi", "lap2")]
    return Maps(picture, mpp, SegPlanes.of_picture(segmentation), *grey)


def _read(path: Path, *, colour: bool = False) -> Plane:
    values = cv2.imread(str(path), cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    if values is None:
        raise DamagedFile(f"{path.name} of a region cannot be read")
    return np.asarray(cv2.cvtColor(values, cv2.COLOR_BGR2RGB) if colour else values, np.uint8)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
