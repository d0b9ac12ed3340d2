"""The words that count lymph nodes: numbers, nodes, and what calls nodes positive or negative.

Patterns that search whole texts are RE2's; those of `re` look at short stretches.
"""

import re

from dicomsvc.reports.text.wording import searcher

_ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_WORDS = {word: number for number, word in enumerate((*_ONES, *_TEENS), 1)} | {
    word: 10 * number for number, word in enumerate(_TENS, 2)
}
_HAN = {character: number for number, character in enumerate("一二三四五六七八九", 1)} | {"两": 2}
_SPELT = (
    rf"(?:(?:{'|'.join(_TENS)})(?:[ \-]{{0,3}}(?:{'|'.join(_ONES)})\b)?|{'|'.join((*_TEENS, *_ONES))}|a single|single)"
)
_NUMBER = rf"(?:{_SPELT}|\d{{1,3}})(?:[ ]?[(\[][ ]?\d{{1,3}}[ ]?[)\]])?"
_NODES = r"(?:(?:[a-z!]?[yv][mn][a-z]{1,3}[\s\-.]{0,3}){0,2}n[o0][do]e[es]{0,2}|lns?)\b"
OF = searcher(
    rf"\b(?P<positive>{_NUMBER}|none|no)[\s.]{{1,3}}(?:out )?of[\s.]{{1,3}}(?:the |a total of "
    rf"|these )?(?P<examined>{_NUMBER})"
    r"(?P<fraction>[ ]?\(\d{1,3}[ ]?/[ ]?\d{1,3}\))?"
)
FRACTION = searcher(r"(?P<positive>\d{1,3})[ ]?/[ ]?(?P<examined>\d{1,3})")
COUNT = searcher(
    rf"\b(?P<all>all )?(?P<number>{_NUMBER})[\s.]{{1,3}}(?P<between>(?:[a-z\-]{{2,20}}[,.]?\s{{1,3}}){{0,6}}?){_NODES}"
    rf"|{_NODES}[ ]?(?:x[ ]?(?P<times>\d{{1,2}})|\((?P<brackets>\d{{1,2}})\)|,[ ]?(?P<listed>{_NUMBER})\b)"
    r"|淋巴结(?P<gap>[^。;\d/:一-九两]{0,10}|:[ ]?(?:送检|共|检出|清扫|总|合)[^。;\d/:一-九两]{0,6})(?P<zh>\d{1,3}"
    r"|[一二两三四五六七八九十]{1,3})[ ]?[枚个粒颗]"
    r"|(?P<before>\d{1,3}|[一二两三四五六七八九十]{1,3})[ ]?[枚个粒颗][^。;，\d]{0,12}?淋巴结"
)
ROMAN = searcher(r"\bno\.?[ ]?\(?[ ]?(?P<positive>[ivxl]{1,7})[ ]?/[ ]?(?P<examined>[ivxl]{1,7}|\d{1,2})\b")
LABEL = searcher(
    rf"(?:number|no\.|#|total|nodes?|count|淋巴结|阳性|转移|检出"
    rf"|总)(?P<what>[^:=;\d]{{0,110}}?(?:\([^():;]{{0,80}}\)[ ]?)?)[:=][ ]{{0,3}}(?:\[?x\]?[ ])?"
    rf"(?P<number>{_NUMBER}|none|zero)[ ]?[枚个]?\b(?P<rest>[ ]?(?:/|of|out of)[ ]?\d{{1,3}})?"
)
LABEL_NUMBER = 2
"""The group of the answer; RE2's matches know the places of groups by number alone."""
NODE_WORD = re.compile(rf"{_NODES}|ymphonod|lyniphonod|淋巴结|哨兵|第?\d{{1,3}}[a-z]?[组站]|nodal")
NOT_COUNTS = re.compile(
    r"(?:levels?|stations?|st\.?|parts?|#|group|zone|number|no\.|block|slide|specimen|grade|score"
    r"|ratio)[ ]?$|[./&\d]$|[a-z]-$"
)
NOT_FRACTION_BEFORE = re.compile(
    r"(?:grade|score|allred|\ber|\bp(?:g|ge)?r|o?estrogen|progesterone|receptors?"
    r"|nottingham|hpf|mitos\w*|level|levels|\bck|keratins?|/|\.|-|inked|page|%|ratio|\+)[ :]{0,2}$|\d$"
)
SCORE = re.compile(r"(?:grade|score|nottingham|page|level|block)[ :]{0,2}$")
BOTH = re.compile(r"(?:number|no\.|#|total)[^:;]{0,60}(?:positive|involved|metasta)[^:;]{0,60}:[ ]{0,3}$")
NOT_FRACTION_AFTER = re.compile(
    r"[ ]?(?:/|\d|[ ]?(?:hpf|per|cassette|cm|mm|high power|o'clock|[针条点周圈管]|高倍)|\.\d)"
)
NOT_NODES = re.compile(
    r"\b(?:cm|mm|of|x|by|in|section|sections|cassettes?|blocks?|slides?|gm|grams?|metasta\w*|levels?|for|to"
    r"|and one|possible|bisected|trisected|candidates?|whole|intact|submitted)\b"
)
HANDLED = re.compile(
    r"[\s,(]{0,3}(?:bisected|trisected|quadrisected|serially|sectioned|submitted|measur|ranging|each\b"
    r"|entirely|whole|in (?:one )?cassette)"
)
NEGATIVE = (
    r"negative|benign|\bno\b(?! (?:lymph|other|prior|extra|evidence of (?:extra|lympho|peri)))|\bfree\b"
    r"|uninvolved|without|reactive|hyperplasia|unremarkable|not involved|none"
    r"|histiocytosis|anthracosis|not identified|阴性|未见|无|均未|\(-\)|反应性"
)
POSITIVE = (
    r"(?<!for )(?<!of )(?<!no )(?<!keratin )positive|involved by|involvement by|metasta\w*|contain\w*"
    r"|with (?:tumou?r|carcinoma)|replaced"
    r"|deposits?|carcinoma (?:is |was )?(?:identified|present|seen)|阳性|见.{0,4}转移|转移|\(\++\)|癌累及"
)
CUE = re.compile(rf"(?P<negative>{NEGATIVE})|(?P<positive>{POSITIVE})")
SUBSET = re.compile(
    rf"\b(?P<number>{_NUMBER}|all|none|both|each)\s{{1,3}}(?:of\s{{1,2}}(?:them|these|which|those|the nodes)\b"
    rf"[^.;]{{0,30}}?(?P<cue>{NEGATIVE}|{POSITIVE})|(?:(?:are|is|were|was|nodes?"
    rf"|also)\s){{0,2}}?(?P<direct>positive|involved|metasta\w*|contain\w*|show\w* metasta\w*))"
    r"|其中[^。;\d]{0,6}(?P<zh>\d{1,3}|[一二两三四五六七八九十]{1,3})[ ]?[枚个粒颗][^。;]{0,6}?转移"
    r"|(?:转移|阳性)(?:数|枚数|数目|淋巴结)?[为共:]?[ ]?(?P<zhafter>\d{1,3})[ ]?[枚个粒颗]"
    r"|(?P<zhdirect>\d{1,3}|[一二两三四五六七八九十]{1,3})[ ]?[枚个粒颗][^。;，\d]{0,6}?(?:阳性|转移)"
)
LED = re.compile(r"\b(?:in|to|of|within|involv\w+|from)\s{0,3}(?:all )?$")
LISTED = re.compile(r"[\s,]{0,3}(?:and|&)?\s{0,3}")


def number_of(text: str) -> int | None:
    """Return the number that ``text`` spells: ``12``, ``twenty-one``, ``sixteen (16)``, ``十二``."""
    text = text.strip()
    if text in ("none", "no", "zero"):
        return 0
    if text in ("a single", "single"):
        return 1
    if digits := re.match(r"\d+", text):
        return int(digits.group())
    if text and (text[0] in _HAN or text[0] == "十"):
        tens, _, ones = text.rpartition("十")
        return 10 * _HAN.get(tens, 1 if "十" in text else 0) + _HAN.get(ones, 0)
    words = re.findall(r"[a-z]+", text.partition("(")[0].partition("[")[0])
    return sum(_WORDS.get(word, 0) for word in words) or None
