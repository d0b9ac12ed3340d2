"""Answers clicks for people who wait: slides stay open between clicks, the model's backend too."""

import threading
import uuid
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.analysis.subject import Subject, open_subject
from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.ai.clicks.answering import Clicker
from dicomsvc.ai.clicks.documents import answers_document
from dicomsvc.ai.clicks.ground import Ground, ground_of_picture, ground_of_slide, require_clicks
from dicomsvc.ai.clicks.storing import store_things
from dicomsvc.ai.inference import Backend, open_backend
from dicomsvc.ai.pictures import read_picture
from dicomsvc.errors import NotFound
from dicomsvc.store import Store

Points = npt.NDArray[np.float64]
_OPEN_SLIDES: Final = 4
_PICTURE_SHIFT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Asked:
    """Clicks ``(n, 2)`` as the client counts pixels, and the model that is to answer: ``NAME`` or ``NAME:NUMBER``."""

    points: Points
    model: str


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    subject: Subject
    ground: Ground


class ClickService:
    """Safe to use from several threads. ``backend`` is opened when first needed, unless one is given."""

    def __init__(self, store: Store, backend: Backend | None = None) -> None:
        self._store = store
        self._catalogue = Catalogue(store.settings)
        self._backend = backend
        self._lock = threading.Lock()
        self._slides: OrderedDict[Hashable, _Open] = OrderedDict()

    def model(self, name: str) -> Manifest:
        """Return a model that answers clicks.

        Raises
        ------
        NotFound, Conflict, InvalidModel
            When it is not there, or cannot be used.
        BadRequest
            When it is of another kind.
        """
        manifest = self._catalogue.find(name)
        require_clicks(manifest)
        return manifest

    def on_slide(self, series_instance_uid: str, asked: Asked, *, keep_for: str | None = None) -> dict[str, Any]:
        """Answer clicks in slide pixels; with ``keep_for``, a person's name, what was found is stored too.

        Raises
        ------
        NotFound
            When there is no such slide.
        UnfitSlide
            When it is not what the model was made for.
        ModelFailure, ServerUnavailable, OutOfResources
            When the model fails, its server is gone, or what was found cannot be stored.
        """
        manifest = self.model(asked.model)
        slide = self._open(series_instance_uid, manifest)
        backend = self._ready()
        answers = Clicker(manifest, backend, slide.ground).answer(asked.points)
        document = answers_document(answers, manifest, backend.description)
        document["series_instance_uid"] = series_instance_uid
        if keep_for is not None:
            uid = f"2.25.{uuid.uuid4().int}"
            stored = store_things(
                self._store, slide.subject, answers.instances, manifest, document["backend"], keep_for, uid
            )
            document["stored"] = [
                {
                    "study_instance_uid": each.study_instance_uid,
                    "series_instance_uid": each.series_instance_uid,
                    "sop_class_uid": each.sop_class_uid,
                    "sop_instance_uid": each.sop_instance_uid,
                }
                for each in stored
            ]
        return document

    def on_picture(self, file: Path, mpp: float, asked: Asked) -> dict[str, Any]:
        """Answer clicks on a picture, whole numbers being pixel centres.

        Raises
        ------
        NotParseable, TooLarge
            When it is no picture, or one too large.
        UnfitSlide
            When it is not what the model was made for.
        ModelFailure, ServerUnavailable
            When the model fails, or its server is gone.
        """
        manifest = self.model(asked.model)
        return picture_document(read_picture(file), mpp, manifest, self._ready(), asked.points)

    def _ready(self) -> Backend:
        with self._lock:
            if self._backend is None:
                in_process = self._store.settings.triton.in_process
                self._backend = open_backend(self._store.settings, self._catalogue.stage() if in_process else None)
            return self._backend

    def _open(self, series_instance_uid: str, manifest: Manifest) -> _Open:
        """Return a slide that was opened before and has not changed since, or open it."""
        instances = self._store.instances
        study = instances.find_series(series_instance_uid)
        if study is None:
            raise NotFound(f"there is no series {series_instance_uid}")
        records = instances.find(study, series_instance_uid)
        key = (manifest.name, manifest.weights_sha256, tuple(sorted((each.key, each.damaged) for each in records)))
        with self._lock:
            known = self._slides.get(key)
            if known is not None:
                self._slides.move_to_end(key)
                return known
        subject = open_subject(self._store, study, series_instance_uid)
        opened = _Open(subject, ground_of_slide(subject.slide, manifest))
        with self._lock:
            self._slides[key] = opened
            while len(self._slides) > _OPEN_SLIDES:
                self._slides.popitem(last=False)
        return opened


def picture_document(
    picture: npt.NDArray[np.uint8], mpp: float, manifest: Manifest, backend: Backend, points: Points
) -> dict[str, Any]:
    """Answer clicks on a picture ``(rows, columns, 3)``; see `ClickService.on_picture`."""
    ground = ground_of_picture(picture, mpp, manifest)
    answers = Clicker(manifest, backend, ground).answer(points + _PICTURE_SHIFT)
    document = answers_document(answers, manifest, backend.description, _PICTURE_SHIFT)
    return {**document, "width": picture.shape[1], "height": picture.shape[0], "mpp": mpp}
