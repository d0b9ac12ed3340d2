"""The metadata document: flat keys and wsidicom's JSON schema, to one checked set of values.

wsidicom's classes describe slide, specimens, stains and optical paths; they are used from here and from
:mod:`dicomsvc.ingest.convert.optics` only.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from pydicom import Dataset
from wsidicom.conceptcode import SpecimenStainsCode
from wsidicom.metadata import WsiMetadata
from wsidicom.metadata.sample import SlideSample, Staining
from wsidicom.metadata.schema.dicom.slide import SlideDicomSchema
from wsidicom.metadata.schema.json.wsi import WsiMetadataJsonSchema
from wsidicom.metadata.slide import Slide

from dicomsvc.errors import ConversionError

FLAT_KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "patient_id": ("patient", "identifier"),
    "patient_name": ("patient", "name"),
    "patient_birth_date": ("patient", "birth_date"),
    "patient_sex": ("patient", "sex"),
    "accession_number": ("study", "accession_number"),
    "study_id": ("study", "identifier"),
    "study_instance_uid": ("study", "uid"),
    "study_description": ("study", "description"),
    "study_date": ("study", "date"),
    "study_time": ("study", "time"),
    "referring_physician_name": ("study", "referring_physician_name"),
    "series_instance_uid": ("series", "uid"),
    "series_number": ("series", "number"),
    "series_description": ("series", "description"),
    "body_part_examined": ("series", "body_part_examined"),
    "container_identifier": ("slide", "identifier"),
    "manufacturer": ("equipment", "manufacturer"),
    "model_name": ("equipment", "model_name"),
    "device_serial_number": ("equipment", "device_serial_number"),
    "software_versions": ("equipment", "software_versions"),
    "label_text": ("label", "text"),
    "barcode": ("label", "barcode"),
}
"""Flat key to its place in wsidicom's document."""

SPECIMEN_KEYS: Final = frozenset({"specimen_identifier", "specimen_description", "stain"})
"""Flat keys that make one specimen, when ``slide.samples`` lists none."""

_SEXES: Final = {"M": "male", "F": "female", "O": "other"}
_STAINS: Final[Mapping[str, tuple[str, ...]]] = {
    "H&E": ("hematoxylin stain", "water soluble eosin stain"),
    "HE": ("hematoxylin stain", "water soluble eosin stain"),
}
_MAX_DOCUMENT_DEPTH: Final = 24


class Metadata:
    """The checked values of a metadata document.

    Raises
    ------
    ConversionError
        When the document is not understood; the message names the fields, never their values.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        nested, specimen = _nest(document)
        self.values: WsiMetadata = _load(nested)
        self._specimen = specimen

    @property
    def container_identifier(self) -> str | None:
        identifier = self.values.slide.identifier
        return getattr(identifier, "value", identifier) or None

    def slide_dataset(self, container_identifier: str, specimen_uid: str) -> Dataset:
        """Make the Specimen Module (PS3.3 C.7.6.22), with one specimen when the document lists none."""
        slide = self.values.slide
        samples = list(slide.samples or ()) or [self._default_sample(container_identifier, specimen_uid)]
        stainings = list(slide.stainings or ())
        stain = self._specimen.get("stain")
        if stain and not stainings:
            stainings = [Staining(substances=_substances(text)) for text in _listed(stain)]
        identifier = slide.identifier or container_identifier
        try:
            dataset: Dataset = SlideDicomSchema().dump(
                Slide(identifier=identifier, samples=samples, stainings=stainings)
            )
        except Exception as error:  # noqa: BLE001 (border: a foreign serialiser on a user's document)
            raise ConversionError(f"The metadata's slide cannot be written ({type(error).__name__})") from None
        for item in dataset.SpecimenDescriptionSequence:
            if not item.get("SpecimenUID"):
                item.SpecimenUID = specimen_uid
        return dataset

    def _default_sample(self, container_identifier: str, specimen_uid: str) -> SlideSample:
        from pydicom.uid import UID

        return SlideSample(
            identifier=str(self._specimen.get("specimen_identifier") or container_identifier),
            uid=UID(specimen_uid),
            short_description=self._specimen.get("specimen_description"),
        )


def _nest(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if not isinstance(document, Mapping):
        raise ConversionError("The metadata is no JSON object")
    _check_depth(document, 0)
    nested: dict[str, Any] = {}
    flat: dict[str, Any] = {}
    specimen: dict[str, Any] = {}
    for key, value in document.items():
        if key in FLAT_KEYS:
            flat[key] = value
        elif key in SPECIMEN_KEYS:
            specimen[key] = value
        else:
            nested[key] = deepcopy(value)
    for key, value in flat.items():
        section, field = FLAT_KEYS[key]
        place = nested.setdefault(section, {})
        if isinstance(place, dict):
            place[field] = _SEXES.get(value, value) if key == "patient_sex" else value
    _refuse_files(nested)
    _complete_samples(nested)
    return nested, specimen


def _check_depth(value: object, depth: int) -> None:
    if depth > _MAX_DOCUMENT_DEPTH:
        raise ConversionError("The metadata is nested too deeply")
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for child in children:
        _check_depth(child, depth + 1)


def _refuse_files(value: object) -> None:
    """The schema would read an ICC profile from any path that the document names."""
    if isinstance(value, dict):
        if "icc_profile" in value:
            raise ConversionError("The metadata must not name files: leave icc_profile out")
        for child in value.values():
            _refuse_files(child)
    elif isinstance(value, list):
        for child in value:
            _refuse_files(child)


def _complete_samples(nested: dict[str, Any]) -> None:
    slide = nested.get("slide")
    samples = slide.get("samples") if isinstance(slide, dict) else None
    for sample in samples if isinstance(samples, list) else ():
        if isinstance(sample, dict):
            sample.setdefault("steps", [])


def _load(nested: dict[str, Any]) -> WsiMetadata:
    try:
        return WsiMetadataJsonSchema().load(nested)
    except Exception as error:  # noqa: BLE001 (border: a foreign parser on a user's document)
        messages = getattr(error, "messages", None)
        fields = ", ".join(sorted(set(_paths(messages)))) if isinstance(messages, dict) else ""
        hint = f" in: {fields}" if fields else ""
        raise ConversionError(f"The metadata is not understood{hint}. docs/conversion.md lists the fields") from None


def _paths(messages: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in messages.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from _paths(value, path)
        else:
            yield path[:80]


def _listed(value: object) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, list) else [str(value)]


def _substances(text: str) -> str | list[SpecimenStainsCode]:
    meanings = _STAINS.get(text.strip().upper().replace(" ", ""))
    return [SpecimenStainsCode(meaning) for meaning in meanings] if meanings else text
