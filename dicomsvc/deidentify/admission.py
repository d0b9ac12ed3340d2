"""What may go out at all, and which pixels are blanked first (PS3.15 E.3.1, Clean Pixel Data).

A label image shows a name, a barcode, handwriting: it stays in the house. Of an overview image that part goes blank of
which the site says that the label is there. Other images go out when they say that nothing is burned in, or are of a
kind in which nothing is: whole slide volumes, segmentations, maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from pydicom import uid as known

from dicomsvc.deidentify.profile import LEAVE_OUT, Profile
from dicomsvc.dicom.part10 import Instance

_REPORTS: Final = "1.2.840.10008.5.1.4.1.1.88."
_WSI: Final = str(known.VLWholeSlideMicroscopyImageStorage)
_ANNOTATIONS: Final = str(known.MicroscopyBulkSimpleAnnotationsStorage)
_WITHOUT_TEXT: Final = frozenset(
    (
        _ANNOTATIONS,
        str(known.SegmentationStorage),
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation, younger than pydicom's table
        str(known.ParametricMapStorage),
    )
)
_NEVER_BURNED_IN: Final = frozenset(
    str(uid)
    for uid in (
        known.CTImageStorage,
        known.EnhancedCTImageStorage,
        known.MRImageStorage,
        known.EnhancedMRImageStorage,
        known.PositronEmissionTomographyImageStorage,
        known.EnhancedPETImageStorage,
    )
)
_IMAGES: Final = frozenset(
    str(uid)
    for uid in (
        known.SecondaryCaptureImageStorage,
        known.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        known.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        known.MultiFrameSingleBitSecondaryCaptureImageStorage,
        known.MultiFrameTrueColorSecondaryCaptureImageStorage,
        known.VLPhotographicImageStorage,
        known.VLMicroscopicImageStorage,
        known.VLSlideCoordinatesMicroscopicImageStorage,
        known.VLEndoscopicImageStorage,
        known.ComputedRadiographyImageStorage,
        known.DigitalXRayImageStorageForPresentation,
        known.DigitalXRayImageStorageForProcessing,
        known.UltrasoundImageStorage,
        known.UltrasoundMultiFrameImageStorage,
        known.ConfocalMicroscopyImageStorage,
        known.ConfocalMicroscopyTiledPyramidalImageStorage,
    )
)


class Verdict(Enum):
    """Whether and how an object goes out."""

    CLEAN = auto()
    BLANK_LABEL = auto()
    LEAVE_OUT = auto()


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict, and for what is left out why."""

    verdict: Verdict
    reason: str = ""


def admission(instance: Instance, profile: Profile) -> Admission:
    """Return what becomes of an instance."""
    sop_class = instance.sop_class_uid
    if sop_class.startswith(_REPORTS):
        if profile.clean_structured_content:
            return Admission(Verdict.CLEAN)
        return _left("a structured report; clean_structured_content is not chosen")
    if sop_class == _ANNOTATIONS and not profile.clean_graphics:
        return _left("bulk annotations; clean_graphics is not chosen")
    burned_in = _first(instance.attributes, "00280301").upper()
    if sop_class == _WSI:
        return _slide_image(instance, profile, burned_in)
    if burned_in == "YES":
        return _left("text is burned into the pixels")
    if sop_class in _WITHOUT_TEXT or sop_class in _NEVER_BURNED_IN:
        return Admission(Verdict.CLEAN)
    if sop_class not in _IMAGES:
        return _left("objects of this class cannot be cleaned")
    if burned_in != "NO":
        return _left("the image does not say that no text is burned into its pixels")
    return Admission(Verdict.CLEAN)


def _slide_image(instance: Instance, profile: Profile, burned_in: str) -> Admission:
    values = instance.attributes.get("00080008", {}).get("Value", ())
    flavour = str(values[2]).upper() if len(values) > 2 else ""
    if flavour in ("VOLUME", "THUMBNAIL"):
        return _left("text is burned into the pixels") if burned_in == "YES" else Admission(Verdict.CLEAN)
    if flavour != "OVERVIEW":
        return _left("a label image" if flavour == "LABEL" else "a slide image of unknown flavour")
    if _first(instance.attributes, "00480010").upper() == "NO" and burned_in == "NO":
        return Admission(Verdict.CLEAN)
    if profile.overview_label == LEAVE_OUT:
        return _left("an overview image; overview_label does not say where its label is")
    return Admission(Verdict.BLANK_LABEL)


def _first(attributes: Mapping[str, Mapping[str, Any]], tag: str) -> str:
    values = attributes.get(tag, {}).get("Value", ())
    return str(values[0]) if values and values[0] is not None else ""


def _left(reason: str) -> Admission:
    return Admission(Verdict.LEAVE_OUT, reason)
