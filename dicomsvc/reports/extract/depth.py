"""How deep a tumour invades a wall: the deepest layer that the report says is reached, by the field's options.

The options stand in the table from the surface down. A layer counts where the clause says that tumour goes into it or
through it, or behind a label ("Depth of invasion:"); "within 2 mm of the serosa" reaches no serosa.
"""

import re
from collections.abc import Iterator
from itertools import islice

from dicomsvc.reports.extract.assertion import asserted
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field, Option
from dicomsvc.reports.text.wording import compiled
from dicomsvc.reports.values import Assertion, FieldValue

RULE = "depth/1"
_FLOOD = 200
"""Mentions of a layer that are looked at; more stand in no report."""
_UNREAD = ("gross", "clinical", "blocks", "disclaimer", "intraoperative")
_LABEL = re.compile(
    r"(?:(?:tumou?r|microscopic|histologic|depth|extent|level)[a-z ]{0,30}(?:extent|extension|invasion|penetration)"
    r"|浸润深度|侵[及犯]深度|浸润程度)[ ]?(?:\([^()]{0,20}\))?[ ]{0,2}[:.\-=][ ]{0,3}[^.;:。；]{0,80}$"
)
_GOES = re.compile(
    r"\b(?:inva[ds]\w*|infiltrat\w*|exten[ds]\w*|penetrat\w*|through|into|traver\w+|perforat\w*|reach\w*|involv\w*|growth)\b"
    r"|侵[及犯达入透至]|浸润|穿透|穿破|累及|突破|达"
)
_GROWS = re.compile(
    r"\b(?:inva[ds]\w*|infiltrat\w*|penetrat\w*|into|adher\w*)\b[^.;:]{0,50}$|(?:侵[及犯达入透至]|浸润|穿透|粘连)[^，。；]{0,16}$"
)
"""Of other organs, more is asked than that they are involved: that is said of metastases too."""
_SHORT_OF = re.compile(
    r"\b(?:within|from|junction of|approach\w*|close to|abut\w*|up to|near\w*|short of|but not|not through"
    r"|distance|and not|beyond)"
    r"[^.;:]{0,45}$|未[^，。；]{0,12}$|距[^，。；]{0,8}$"
)
_PARTLY = re.compile(
    r"\b(?:in|into|inva[ds]\w*|involv\w*|infiltrat\w*)\b[^.;:]{0,20}\bbut (?:is |does )?not"
    r"[^.;:]{0,20}\b(?:through|beyond)\b[^.;:]{0,16}$"
)
"""Into a layer, but not through it."""
_THROUGH = re.compile(
    r"(?:through(?:out)?|traver\w+|penetrat\w+|perforat\w+|beyond)[\s.]{1,3}(?:the |entire |full "
    r"|thickness |of |whole |bowel )*$|(?:穿透|突破|穿过|浸透)$"
)
_NOT_THROUGH = re.compile(r"\bnot\b[^.;]{0,20}$|未$")


def find_depth(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the deepest layer reached."""
    deepest: tuple[int, Option, int, int] | None = None
    for rank, option in enumerate(field.options):
        for match in islice(compiled(_wordings(reading, option)).finditer(reading.text), _FLOOD):
            section = reading.section_at(match.start())
            beyond = rank == len(field.options) - 1
            if section is not None and section.kind in _UNREAD:
                continue
            if not _reached(reading, match.start(), match.end(), beyond):
                continue
            reached = min(rank + _beyond(reading, field, option, match.start()), len(field.options) - 1)
            if deepest is None or reached > deepest[0]:
                deepest = reached, field.options[reached], match.start(), match.end()
    if deepest is not None:
        _, option, start, end = deepest
        evidence = reading.evidence(_said_from(reading, start), end)
        yield FieldValue(
            field=field.id,
            value=option.value,
            evidence=(evidence,),
            raw=reading.raw(evidence),
            part=reading.label_at(start),
            confidence=0.88,
            rule=RULE,
        )


def _wordings(reading: Reading, option: Option) -> tuple[str, ...]:
    own = option.wording.get(reading.language, ())
    return (*own, *option.wording.get("en", ())) if reading.language == "zh" else own


def _before(reading: Reading, start: int) -> str:
    left, _ = reading.clauses.around(start, start)
    return reading.text[max(left, start - 110) : start]


def _reached(reading: Reading, start: int, end: int, beyond: bool) -> bool:
    before = _before(reading, start)
    if _PARTLY.search(before):
        return True
    if _SHORT_OF.search(before):
        return False
    if _LABEL.search(reading.text[max(0, start - 130) : start]):
        return True
    if (_GROWS if beyond else _GOES).search(before) is None:
        return False
    return asserted(reading, start, end).assertion in (Assertion.PRESENT, Assertion.INDETERMINATE)


def _beyond(reading: Reading, field: Field, option: Option, start: int) -> int:
    """Return 1 where tumour goes through the layer of an option that ``through`` names, into the next one."""
    if option.value not in field.settings.get("through", ()):
        return 0
    before = _before(reading, start)
    through = _THROUGH.search(before)
    return 1 if through and not _NOT_THROUGH.search(before[: through.start()]) else 0


def _said_from(reading: Reading, start: int) -> int:
    before = _before(reading, start)
    goes = list(_GOES.finditer(before))
    return start - len(before) + goes[-1].start() if goes else start
