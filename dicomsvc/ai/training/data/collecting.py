"""Makes a folder of training data out of the store, or out of GeoJSON and a slide file."""

import hashlib
import hmac
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydicom.sr.coding import Code

from dicomsvc.ai.training.data.choice import Choice, LeftOut, Origin
from dicomsvc.ai.training.data.crops import Crop, Cutting, Drawn, Pixels, areas, cut
from dicomsvc.ai.training.data.files import FilePixels
from dicomsvc.ai.training.data.folder import MOST_CLASSES, Folder, Row
from dicomsvc.ai.training.data.geojson import read_geojson
from dicomsvc.ai.training.data.marks import Mark, Role
from dicomsvc.ai.training.data.segments import Segment
from dicomsvc.ai.training.data.stored import DrawnSlide, read_study
from dicomsvc.errors import BadRequest, ConfigurationError, DamagedFile, NotAcceptable, NotFound, TooLarge, UnfitSlide
from dicomsvc.store import Store
from dicomsvc.wsi.attributes import text
from dicomsvc.wsi.resampling import Plane

Tell = Callable[[int, int, str], None]
_KEY_FILE: Final = "training.key"
_KEY_BYTES: Final = 32
_LETTERS: Final = 12


@dataclass(frozen=True, slots=True)
class Summary:
    """What was taken: pictures, things by class; annotators with their pictures; what was left out, by reason."""

    folder: Path
    pictures: int
    groups: int
    slides: int
    known: float
    background: bool
    classes: dict[str, int]
    annotators: dict[str, int]
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One drawing to be cut into crops; ``name`` begins the names of its pictures."""

    name: str
    group: str
    slide: str
    annotator: str
    shown_annotator: str
    open: Callable[[], Pixels]
    marks: Sequence[Mark]
    segments: Sequence[Segment]
    is_complete: bool


def collect_from_store(
    store: Store, studies: Sequence[str], out: Path, mpp: float, choice: Choice, cutting: Cutting, tell: Tell
) -> Summary:
    """Write training data of what was drawn on the slides of studies.

    The names of patients, slides and annotators are replaced by digests with a key of the store, the same in every
    folder, so that one patient is one group everywhere.

    Raises
    ------
    NotFound
        When nothing is stored under a study's UID.
    BadRequest
        When nothing is left to be taken, or the folder is not empty.
    """
    left_out = LeftOut()
    key = _key(store)
    jobs: list[_Job] = []
    for number, study_instance_uid in enumerate(dict.fromkeys(studies)):
        tell(number, len(studies), "reading annotations")
        for slide in read_study(store, study_instance_uid, choice, left_out):
            jobs += _jobs(slide, mpp, key)
    return _write(jobs, out, choice.classes, cutting, left_out, tell)


def collect_from_geojson(
    geojson: Path, pixels: FilePixels, out: Path, choice: Choice, cutting: Cutting, name: str, tell: Tell
) -> Summary:
    """Write training data of a GeoJSON file about a slide file; ``name`` is that of the slide, and its group.

    Raises
    ------
    BadRequest
        When the file is no GeoJSON, nothing is left to be taken, or the folder is not empty.
    """
    left_out = LeftOut()
    marks, without = read_geojson(geojson, choice.point_radius(pixels.slide_mpp))
    left_out.update(without)
    taken = [mark for mark in marks if choice.takes_class(mark.label, mark.code, mark.role)]
    if len(taken) < len(marks):
        left_out.add("class that was not asked for", len(marks) - len(taken))
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)[:64] or "slide"
    job = _Job(safe, safe, safe, "", "", lambda: pixels, taken, (), is_complete=False)
    return _write([job], out, choice.classes, cutting, left_out, tell)


def _jobs(slide: DrawnSlide, mpp: float, key: bytes) -> Iterable[_Job]:
    patient = text(slide.dataset, "00100020")
    whose = ("patient", patient, text(slide.dataset, "00100021")) if patient else ("study", slide.study_instance_uid)
    group = f"patient-{_digest(key, *whose)}"
    name = f"slide-{_digest(key, slide.series_instance_uid)}"
    for (annotator, origin), drawing in slide.drawings.items():
        shown = annotator if origin is Origin.PEOPLE else f"{annotator} ({origin})"
        who = f"annotator-{_digest(key, shown)}"
        yield _Job(
            name=f"{name}-{who[-4:]}",
            group=group,
            slide=name,
            annotator=who,
            shown_annotator=shown,
            open=lambda: Plane(slide.slide, mpp),
            marks=drawing.marks,
            segments=drawing.segments,
            is_complete=origin is Origin.ACCEPTED and all(mark.role is not Role.REGION for mark in drawing.marks),
        )


def _write(
    jobs: Sequence[_Job], out: Path, wanted: Sequence[str], cutting: Cutting, left_out: LeftOut, tell: Tell
) -> Summary:
    codes = _classes(jobs)
    numbers = {label: number for number, label in enumerate(_ordered(codes, wanted), 1)}
    if not numbers:
        raise BadRequest(f"nothing drawn is left to be taken{_reasons(left_out)}")
    if len(numbers) > MOST_CLASSES:
        raise BadRequest(f"there are {len(numbers)} classes; choose {MOST_CLASSES} at most")
    folder = Folder(out)
    annotators: Counter[str] = Counter()
    background = False
    for at, job in enumerate(jobs):
        tell(at, len(jobs), "cutting")
        try:
            for crop, mpp in _crops(job, numbers, cutting, left_out):
                folder.add(crop, _row(job, crop, len(folder.rows), mpp))
                annotators[job.shown_annotator] += 1
                background |= bool(((crop.things == 0) & ~crop.unknown).any())
        except (UnfitSlide, NotFound, DamagedFile, NotAcceptable, TooLarge) as error:
            left_out.add(f"drawing whose slide or segmentation cannot be read: {type(error).__name__}")
    tell(len(jobs), len(jobs), "")
    if not folder.rows:
        raise BadRequest(f"no crop has anything that is known{_reasons(left_out)}")
    folder.close(numbers, codes)
    pixels = sum(row.width * row.height for row in folder.rows)
    return Summary(
        folder=out,
        pictures=len(folder.rows),
        groups=len({row.group for row in folder.rows}),
        slides=len({row.slide for row in folder.rows}),
        known=round(sum(row.known * row.width * row.height for row in folder.rows) / pixels, 4),
        background=background,
        classes={label: folder.things[number] for label, number in numbers.items()},
        annotators=dict(annotators),
        left_out=dict(left_out.counts),
    )


def _crops(
    job: _Job, numbers: Mapping[str, int], cutting: Cutting, left_out: LeftOut
) -> Iterator[tuple[Crop, tuple[float, float]]]:
    """Yield the crops of a drawing with their resolution, (x, y) micrometres a pixel."""
    pixels = job.open()
    drawn = Drawn(pixels, job.marks, job.segments, numbers)
    cutting = replace(cutting, is_complete=cutting.is_complete or job.is_complete)
    chosen, more = areas(drawn, cutting)
    if more:
        left_out.add(f"crop beyond the {cutting.most} of one drawing", more)
    for area in chosen:
        crop = cut(drawn, area, cutting)
        if crop is not None:
            yield crop, pixels.mpp


def _row(job: _Job, crop: Crop, number: int, mpp: tuple[float, float]) -> Row:
    return Row(
        id=f"{job.name}-{number:05d}",
        mpp=round(sum(mpp) / 2, 5),
        group=job.group,
        slide=job.slide,
        annotator=job.annotator,
        x=crop.area.x,
        y=crop.area.y,
        width=crop.area.width,
        height=crop.area.height,
        things=int(crop.things.max(initial=0)),
        known=round(float(1 - crop.unknown.mean()), 4),
    )


def _classes(jobs: Sequence[_Job]) -> dict[str, Code | None]:
    """Return the codes of all things, by label; a code goes before none."""
    found: dict[str, Code | None] = {}
    for job in jobs:
        drawn: list[Mark | Segment] = [*job.marks, *job.segments]
        for each in drawn:
            if each.role is Role.THING:
                found[each.label] = found.get(each.label) or each.code
    return found


def _ordered(codes: Mapping[str, Code | None], wanted: Sequence[str]) -> list[str]:
    """Return the labels as they were asked for, else by the alphabet, so that the same classes get the same numbers."""
    asked = [each.casefold() for each in wanted]

    def place(label: str) -> tuple[int, str]:
        code = codes[label]
        names = [label, *((code.value, code.meaning) if code else ())]
        places = [asked.index(name.casefold()) for name in names if name.casefold() in asked]
        return min(places, default=len(asked)), label

    return sorted(codes, key=place)


def _reasons(left_out: LeftOut) -> str:
    reasons = "; ".join(f"{count} x {reason}" for reason, count in left_out.counts.most_common(3))
    return f" (left out: {reasons})" if reasons else ""


def _digest(key: bytes, *values: str) -> str:
    return hmac.new(key, "\0".join(values).encode(), hashlib.sha256).hexdigest()[:_LETTERS]


def _key(store: Store) -> bytes:
    """Return the store's key for names of patients: without it nobody can try which patient a digest is of."""
    path = store.layout.root / _KEY_FILE
    with suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(f"{path} is damaged: it holds {len(key)} bytes instead of {_KEY_BYTES}")
    return key
