"""The presentation contexts of a C-GET: in which SOP classes and transfer syntaxes its instances may come.

An association has at most 128 contexts (PS3.8 9.3.2.2), and an acceptor answers one transfer syntax in each. As peers
send an instance in the syntax that it is stored in, or in one that they can make of it, each syntax gets a context of
its own as far as there is room: then pixel data comes as it is, and slides in JPEG beside label images that are not
compressed.
"""

from collections.abc import Iterable
from typing import Final

from pydicom import uid as known

from dicomsvc.dimse.contexts import STORED_SYNTAXES
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
CLASSES_IN_FULL: Final = _MOST_CONTEXTS // len(SYNTAXES)
"""So many SOP classes can be proposed in each syntax with contexts of their own."""

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
    """Return contexts for these classes, numbered from 3: each syntax alone, or the less common ones in one."""
    classes = tuple(sop_classes)
    room = _MOST_CONTEXTS // len(classes)
    alone = len(SYNTAXES) if room >= len(SYNTAXES) else room - 1
    groups: list[tuple[str, ...]] = [(syntax,) for syntax in SYNTAXES[:alone]]
    if alone < len(SYNTAXES):
        groups.append(SYNTAXES[alone:])
    return _numbered(classes, groups)


def contexts_in(sop_classes: Iterable[str], syntax: str) -> tuple[ProposedContext, ...]:
    """Return contexts for these classes in one syntax."""
    return _numbered(sop_classes, [(syntax,)])


def _numbered(classes: Iterable[str], groups: Iterable[tuple[str, ...]]) -> tuple[ProposedContext, ...]:
    proposed = ((sop_class, group) for sop_class in classes for group in groups)
    return tuple(ProposedContext(2 * number + 3, *context) for number, context in enumerate(proposed))
