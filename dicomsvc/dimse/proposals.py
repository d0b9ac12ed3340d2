"""The presentation contexts of a C-GET: in which SOP classes and transfer syntaxes its instances may come.

An association has at most 128 contexts (PS3.8 9.3.2.2), and an acceptor answers one transfer syntax in each. As peers
send an instance in the syntax that it is stored in, or in one that they can make of it, each syntax gets a context of
its own as far as there is room: then pixel data comes as it is, and slides in JPEG beside label images that are not
compressed.
"""

import logging
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Final

from pydicom import Dataset
from pydicom import uid as known

from dicomsvc.dicom.uids import is_storage_class, is_valid_uid
from dicomsvc.dimse.contexts import STORED_SYNTAXES
from dicomsvc.dimse.information_models import STUDY_ROOT_FIND
from dicomsvc.dimse.pdu import ProposedContext
from dicomsvc.dimse.querying import Queries
from dicomsvc.dimse.requestor import Peer
from dicomsvc.errors import DicomsvcError

_log = logging.getLogger(__name__)

_MOST_CONTEXTS: Final = 127
"""For Storage: one more is that of the C-GET itself."""
_MOST_CLASSES: Final = 42
_MOST_SERIES: Final = 500

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
"""So many SOP classes can be proposed with each syntax in a context of its own."""

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
    proposed = ((sop_class, group) for sop_class in classes for group in groups)
    return tuple(ProposedContext(2 * number + 3, *context) for number, context in enumerate(proposed))


def sop_classes_of(peer: Peer, keys: Dataset) -> tuple[str, ...]:
    """Return the SOP classes of what ``keys`` names, as the peer tells when it is asked; else the usual ones.

    ``keys``: Query/Retrieve Level (STUDY, SERIES or IMAGE) and the unique keys down to it.
    """
    try:
        with Queries(peer, STUDY_ROOT_FIND) as queries:
            told = _first(filter(_is_proposable, _told(queries, keys)), _MOST_CLASSES)
    except DicomsvcError as error:
        _log.info("%s does not tell which SOP classes it has: %s", peer.called_ae_title, error)
        return USUAL_SOP_CLASSES
    return told or USUAL_SOP_CLASSES


def _first(values: Iterable[str], most: int) -> tuple[str, ...]:
    """Return the first distinct values, having read all: the rest of a query's responses is in the way of the next."""
    kept: dict[str, None] = {}
    for value in values:
        if len(kept) < most:
            kept[value] = None
    return tuple(kept)


def _is_proposable(uid: str) -> bool:
    return is_valid_uid(uid) and is_storage_class(uid)


def _told(queries: Queries, keys: Dataset) -> Iterator[str]:
    """Yield the SOP classes, some of them again and again.

    Queries are hierarchical (PS3.4 C.4.1.3.1.1), so that every archive understands them.
    """
    level = keys.QueryRetrieveLevel
    if level == "STUDY":
        studies = queries.find(_asking(keys, "STUDY", "SOPClassesInStudy"))
        in_study = _first(_values(studies, "SOPClassesInStudy"), _MOST_CLASSES)
        if in_study:
            yield from in_study
            return
        found = queries.find(_asking(keys, "SERIES", "SeriesInstanceUID"))
        series = _first(_values(found, "SeriesInstanceUID"), _MOST_SERIES)
    else:
        series = (keys.SeriesInstanceUID,)
    for uid in series:
        of_series = _asking(keys, "IMAGE", "SOPInstanceUID", "SOPClassUID")
        of_series.SeriesInstanceUID = uid
        yield from _values(queries.find(of_series), "SOPClassUID")


def _asking(keys: Dataset, level: str, *keywords: str) -> Dataset:
    """Return the unique keys in ``keys`` with attributes that are asked for, at another level."""
    query = deepcopy(keys)
    query.QueryRetrieveLevel = level
    for keyword in keywords:
        if keyword not in query:
            setattr(query, keyword, None)
    return query


def _values(found: Iterable[Dataset], keyword: str) -> Iterator[str]:
    for result in found:
        value = result.get(keyword)
        values = [value] if isinstance(value, str) else value or ()
        yield from (str(each) for each in values if each)
