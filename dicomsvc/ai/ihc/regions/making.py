"""New regions: of a part of a stored slide, or of a picture that was sent."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicomsvc.ai.analysis.subject import open_subject
from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.ihc.cells import CellTable, Thresholds
from dicomsvc.ai.ihc.checking import cell_warnings, check_picture
from dicomsvc.ai.ihc.engine import Engine, Stop
from dicomsvc.ai.ihc.maps import MAX_PLANE_PIXELS, Maps, map_picture, map_region
from dicomsvc.ai.ihc.presets import Preset
from dicomsvc.ai.ihc.regions.region import Region, RegionCard
from dicomsvc.ai.ihc.regions.storage import Regions
from dicomsvc.ai.inference import Backend
from dicomsvc.ai.pictures import read_picture
from dicomsvc.errors import BadRequest, NotFound, NotParseable
from dicomsvc.store import Store
from dicomsvc.wsi.plan import Rectangle


@dataclass(frozen=True, slots=True)
class Order:
    """How to look: ``model`` is ``NAME`` or ``NAME:NUMBER``, None the usual one; ``who`` asks."""

    preset: Preset
    model: str | None
    who: str


@dataclass(frozen=True, slots=True)
class _Origin:
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    corner: tuple[int, int] = (0, 0)
    scale: tuple[float, float] = (1.0, 1.0)


class Maker:
    """Makes regions in one store."""

    def __init__(self, store: Store, engine: Engine, regions: Regions) -> None:
        self._store = store
        self._engine = engine
        self._regions = regions

    def of_slide(self, series: str, place: Rectangle, order: Order, stop: Stop) -> Region:
        """Look at a rectangle of slide pixels.

        Raises
        ------
        NotFound, UnfitSlide, BadRequest, TooLarge
            When there is no such slide, it is not what the model was made for, or the place lies outside or is too
            large.
        """
        self._regions.require_room()
        study = self._store.instances.find_series(series)
        if study is None:
            raise NotFound(f"series {series} is not stored")
        subject = open_subject(self._store, study, series)
        manifest, backend = self._engine.model(order.model), self._engine.backend()
        # The plane is coarser than the slide, or as fine: no region takes more.
        with self._engine.room(min(place.width * place.height, MAX_PLANE_PIXELS), stop):
            maps, area, scale = map_region(subject.slide, place, manifest, backend, tell=stop.check)
            warnings = check_picture(maps.picture)
            stop.check()
            return self._keep(maps, manifest, backend, order, _Origin(study, series, (area.x, area.y), scale), warnings)

    def of_picture(self, path: Path, mpp: float, order: Order, stop: Stop) -> Region:
        """Look at a picture in a file.

        Raises
        ------
        BadRequest, TooLarge, UnfitSlide
            When it is no picture, is too large, or is not what the model was made for.
        """
        stop.check()
        self._regions.require_room()
        try:
            picture = read_picture(path)
        except NotParseable as error:
            raise BadRequest(f"img: {error}") from error
        warnings = check_picture(picture)
        manifest, backend = self._engine.model(order.model), self._engine.backend()
        with self._engine.room(picture.shape[0] * picture.shape[1], stop):
            maps = map_picture(picture, mpp, manifest, backend, tell=stop.check)
            stop.check()
            return self._keep(maps, manifest, backend, order, _Origin(), warnings)

    def _keep(
        self,
        maps: Maps,
        manifest: Manifest,
        backend: Backend,
        order: Order,
        origin: _Origin,
        warnings: tuple[str, ...],
    ) -> Region:
        def card(identifier: str, table: CellTable) -> RegionCard:
            of_cells = cell_warnings(table, table.answer(Thresholds()), order.preset, manifest)
            return RegionCard(
                id=identifier,
                study_instance_uid=origin.study_instance_uid,
                series_instance_uid=origin.series_instance_uid,
                columns=maps.picture.shape[1],
                rows=maps.picture.shape[0],
                mpp=maps.mpp,
                origin=origin.corner,
                scale=origin.scale,
                marker=order.preset.name,
                model=manifest.name,
                number=manifest.number,
                version=manifest.version,
                weights_sha256=manifest.weights_sha256,
                backend=backend.description,
                cells=len(table),
                warnings=(*warnings, *of_cells),
                created=datetime.now(UTC).isoformat(),
                created_by=order.who,
            )

        return self._regions.create(maps, card)
