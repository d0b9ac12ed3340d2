"""Words that may stay in a text: those of the coded concepts of PS3.16, and a few that slides are described with.

A list of what may stay, not of what must go: a name, a number or a place is simply not in it. A surname that is also
such a word ("Brown", "Young") stays, as the page on de-identification says.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, cast

from pydicom.sr._concepts_dict import concepts as _concepts

_CONCEPTS: Final = cast("Mapping[str, Mapping[str, Mapping[str, tuple[str, list[int]]]]]", _concepts)
"""By scheme, keyword and code value: the meaning and the context groups."""
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*", re.UNICODE)
_TOKEN = re.compile(r"\S+")
_EDGES: Final = ".,;:()[]{}/\"'!?+="
_MORE: Final = frozenset(
    """
    a ai al algorithm analysis annotation annotations area at biopsy block breast by cell cells class classification
    core count counts density detection estrogen finding from grade group h&e he heatmap her2 hes ihc image images in
    index ki-67 ki67 label level map masks mask mitosis mitoses model nuclei nucleus of on or order overview p53 pas
    patch
    percent pd-l1 percentage positive negative prediction probability region regions result results roi rois score
    scored section segment segmentation series slide slides spacing specimen stain stained stroma study the thumbnail
    tile tiles to tumor tumour tumors tumours verdict virtual volume whole with without wsi comment accepted rejected
    """.split()
)
_MAGNIFICATION = re.compile(r"(?:[1-9]\d?\d?x|x[1-9]\d?\d?)\Z")


@cache
def _words() -> frozenset[str]:
    """Return the words that some meaning has in lower case; those that always have a capital may be names."""
    found = set(_MORE)
    for scheme in _CONCEPTS.values():
        for codes in scheme.values():
            for meaning, *_ in codes.values():
                found.update(word for word in _WORD.findall(meaning) if word.islower() and len(word) > 1)
    return frozenset(found)


@cache
def _meanings() -> dict[tuple[str, str], str]:
    found = {}
    for scheme, keywords in _CONCEPTS.items():
        for codes in keywords.values():
            for value, (meaning, *_) in codes.items():
                found[scheme, value] = meaning
    return found


def known_meaning(scheme: str, value: str) -> str | None:
    """Return the meaning that PS3.16 gives a code."""
    return _meanings().get((scheme, value))


def clinical_words(text: str, names: frozenset[str] = frozenset()) -> str:
    """Return ``text`` without the words that are not of the vocabulary, or are ``names`` (casefolded); maybe empty."""
    words = _words()
    kept = []
    for token in _TOKEN.findall(text):
        bare = token.strip(_EDGES)
        low = bare.casefold()
        parts = re.split("[-/]", low)
        if names.intersection((low, *parts)):
            continue
        if low in words or _MAGNIFICATION.match(low) or all(part in words for part in parts):
            kept.append(bare)
    return " ".join(kept)
