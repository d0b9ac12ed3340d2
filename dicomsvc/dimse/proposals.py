"""The presentation contexts of a C-GET: in which SOP classes and transfer syntaxes its instances may come.

An association has at most 128 contexts (PS3.8 9.3.2.2), and an acceptor answers one transfer syntax in each. As peers
send an instance in the syntax that it is stored in, or in one that they can make of it, each syntax gets a context of
its own as far as there is room: then pixel data comes as it is, and slides in JPEG beside label images that are not
compressed.
"""

from collections.abc import Iterable
from typing import Final

from pydicom import uid as known

from dicomsvc.dicom.uids import may_have_pixel_data
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES, STORED_SYNTAXES
from dicomsvc.dimse.pdu import ProposedContext

_MOST_CONTEXTS: Final = 127
"""For Storage: one more is that of the C-GET itself."""
MOST_CLASSES: Final = 42
"""So many SOP classes can be proposed in each syntax."""

_COMMON: Final = (
    str(known.JPEGBaseline8Bit),
    str(known.ExplicitVRLittleEndian),
    str(known.JPEG2000Lossless),
    str(known.JPEG2000),
    str(known.ImplicitVRLittleEndian),
    str(known.JPEGLosslessSV1),
    str(known.JPEGLSLossless),
    str(known.RLELossless),
)
SYNTAXES: Final = (*_COMMON, *(syntax for syntax in STORED_SYNTAXES if syntax not in _COMMON))
"""What instances are taken in, those first that archives of slides have most often."""
_WITHOUT_PIXELS_FIRST: Final = (*MESSAGE_SYNTAXES, *(syntax for syntax in SYNTAXES if syntax not in MESSAGE_SYNTAXES))
CONTEXTS_WITHOUT_PIXELS: Final = 3
"""Contexts of a class without pixel data: Explicit and Implicit VR Little Endian alone, and all the others together."""
CLASSES_IN_FULL: Final = _MOST_CONTEXTS // len(SYNTAXES)
"""So many SOP classes of images can be proposed in each syntax with contexts of their own."""

USUAL_SOP_CLASSES: Final[tuple[str, ...]] = tuple(
    map(
        str,
        (
            known.VLWholeSlideMicroscopyImageStorage,
            known.SegmentationStorage,
            known.MicroscopyBulkSimpleAnnotationsStorage,
            known.ParametricMapStorage,
            known.Comprehensive3DSRStorage,
            known.ComprehensiveSRStorage,
            known.EnhancedSRStorage,
            known.BasicTextSRStorage,
            known.KeyObjectSelectionDocumentStorage,
            known.GrayscaleSoftcopyPresentationStateStorage,
            known.EncapsulatedPDFStorage,
            known.SecondaryCaptureImageStorage,
            known.MultiFrameTrueColorSecondaryCaptureImageStorage,
            known.VLPhotographicImageStorage,
            known.VLMicroscopicImageStorage,
            known.VLSlideCoordinatesMicroscopicImageStorage,
            known.CTImageStorage,
            known.MRImageStorage,
            known.ComputedRadiographyImageStorage,
            known.DigitalXRayImageStorageForPresentation,
            known.UltrasoundImageStorage,
        ),
    )
)
"""What is proposed when the peer does not tell what it has."""


def storage_contexts(sop_classes: Iterable[str]) -> tuple[ProposedContext, ...]:
    """Return contexts for these classes, numbered from 3; what has no context of its own shares one for its class."""
    classes = tuple(sop_classes)
    images = sum(map(may_have_pixel_data, classes))
    room = (_MOST_CONTEXTS - CONTEXTS_WITHOUT_PIXELS * (len(classes) - images)) // max(1, images)
    of_images = _grouped(SYNTAXES, room)
    of_others = _grouped(_WITHOUT_PIXELS_FIRST, CONTEXTS_WITHOUT_PIXELS)
    return _numbered(
        (sop_class, group)
        for sop_class in classes
        for group in (of_images if may_have_pixel_data(sop_class) else of_others)
    )


def _grouped(syntaxes: tuple[str, ...], room: int) -> list[tuple[str, ...]]:
    """Return groups of transfer syntaxes for ``room`` contexts: each alone; the last ones together if need be."""
    alone = len(syntaxes) if room >= len(syntaxes) else room - 1
    rest = syntaxes[alone:]
    return [(syntax,) for syntax in syntaxes[:alone]] + ([rest] if rest else [])


def contexts_in(sop_classes: Iterable[str], syntax: str) -> tuple[ProposedContext, ...]:
    """Return contexts for these classes in one syntax."""
    return _numbered((sop_class, (syntax,)) for sop_class in sop_classes)


def _numbered(proposed: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[ProposedContext, ...]:
    return tuple(ProposedContext(2 * number + 3, *context) for number, context in enumerate(proposed))
