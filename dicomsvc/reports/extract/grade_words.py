"""How grades are written: the expressions that `dicomsvc.reports.extract.grade` reads them by."""

import re

from dicomsvc.reports.text.wording import searcher


def _numbered(words: tuple[str, ...]) -> dict[str, int]:
    return {word: grade for grade, named in enumerate(words, 1) for word in named.split()}


# Scanned numerals: "ll", "Il" and "11" for II.
NUMERALS = _numbered(("1 i l ⅰ one", "2 ii il li ll 11 ⅱ two", "3 iii ill iil lll 111 ⅲ three", "4 iv lv ⅳ four"))
DEGREES = _numbered(
    (
        "well highly low 高 良好 较好 好",
        "moderately moderate medium moderatedly moderatly mderately mod intermediate intermediately 中 中等",
        "poorly poor slightly little high 低 差 较差 不良",
        "undifferentiated 未",
    )
) | {"moderately well": 2, "moderate well": 2}
_DEGREE = (
    r"(?:well|highly|slightly|little|medium|moderate(?:ly)?\swell|mod(?:erate(?:ly|dly)?|eratly)?|mderately|"
    r"intermediate(?:ly)?|poor(?:ly)?)"
)
_JOIN = r"[\s,]{0,2}(?:to|and|or|-|/|through)[\s\-]{0,2}"
_DIFFERENTIATED = r"diff(?:er[ae]n(?:tiated|tiation|t[il]?ated))?"
_NUMBER = r"(?:[1-4]|i{1,3}|iv|[il]{2,3}|l|11|111|[ⅰⅱⅲⅳ]|one|two|three|four)"
_NAMES = (
    r"(?:nottingham|elston|ellis|scarff|scharff|bloom|richardson|s\.?b\.?r\.?|m?sbr|figo|who|tnm|ajcc|nsabp|n\.s\.a\.b\.p\.|"
    r"edmondson|steiner|combined|overall|final|composite|histologic(?:al)?|histopathologic(?:al)?|tumou?r|modified|"
    r"modification|invasive|infiltrating|carcinoma)"
)
_SCORERS = r"nottingham|elston|ellis|scarff|scharff|bloom|richardson|sbr|s\.b\.r\.|mbr|nhg|诺丁汉"
_ZH_DEGREES = r"[高中低未])[度等]?(?:分化)?\s?[-~至到/、]?\s?(?P<z2>[中低未])?[度等]?分化"

GRADES = searcher(
    rf"(?P<differentiation>\b(?P<d1>{_DEGREE})"
    rf"(?:[\s.\-]{{0,3}}{_DIFFERENTIATED})?(?:{_JOIN}(?P<d2>{_DEGREE}))?[\s.\-]{{0,3}}{_DIFFERENTIATED}\b)"
    r"|(?P<undifferentiated>\bundifferentiated\b)"
    r"|(?P<after>\bdifferentiation\s?(?:[:\-=]|is)\s{0,3}"
    rf"(?P<a1>{_DEGREE}|undifferentiated)(?:{_JOIN}(?P<a2>{_DEGREE}))?\b)"
    r"|(?P<major>\b(?:worst|major)\s(?:histologic )?(?:differentiation|grade)\b)"
    rf"|(?P<label>\b(?:{_NAMES}(?:[\s/\-'&,]{{0,3}}(?:of|and|the)\b)?[\s/\-'&,]{{0,3}})*?grad(?:e|ing)\b"
    r"(?:\s?of (?:the )?(?:invasive )?(?:tumou?r|carcinoma))?)"
    rf"|(?P<named>\b(?:(?:modified\s)?(?:{_SCORERS})(?:[\s/\-'&,]{{0,3}}(?:(?:and\s)?(?:{_SCORERS})))*)(?:[\s:=(]|\bscale\b){{1,4}})"
    rf"|(?P<tier>\b(?P<t1>low|intermediate|medium|moderate|high)(?:{_JOIN}(?P<t2>intermediate|high))?"
    r"[\s\-]{1,2}(?:combined |histologic |nottingham )*grade\b)"
    r"|(?P<short>\b(?:nh|h)?g-?(?P<n1>[1-4])(?:\s?[-/~]\s?g?(?P<n2>[1-4]))?\b)"
    rf"|(?P<zh>(?P<z1>{_ZH_DEGREES})"
    r"|(?P<zhtier>(?P<h1>[高中低])级别)"
    r"|(?P<zhafter>分化(?:程度)?[:为]?\s?(?P<z3>良好|较好|好|中等|不良|较差|差))"
    r"|(?P<zhbare>(?:癌|瘤|型|特殊|组织学|who|[,(:])\s?(?P<n3>[123ⅰⅱⅲ]|i{1,3})(?:\s?[-~至、]\s?(?P<n4>[123ⅰⅱⅲ]|i{1,3}))?\s?级)"
    r"|(?P<zhlabel>(?:组织学|病理|iaslc|肿瘤|nottingham|诺丁汉|sbr|edmondson|steiner|综合)"
    r"[^。;；:\n]{0,14}?(?:分级|级别|评级)|分级(?:[:为])|edmondson[\s-]{0,2}steiner)"
)
"""Every form in which a text may name a grade; the group that matched says which."""
_FILL = (
    r"(?:[\s:;,.()\[\]\-=*\"'#]|is\b|was\b|of\b|score\b|scale\b|system\b|applicable\b|if\b|per\b|by\b|in\b|the\b|tumou?r\b|"
    r"carcinoma\b|using\b|nottingham\b|modified\b|e*m?sbr\b|(?:bloom|scarff|elston)(?:\s?&|\sand\b)?|richardson|ellis|who\b|figo\b|"
    r"classification\b|histologic(?:al)?\b|combined\b|overall\b|invasive\b|grade\b|predominantly\b|ajcc\b|"
    r"1,\s?2,\s?3|1-3|i-iii|/?differentiation\b|wors[et]\b|area\b|major\b|edmondson|steiner|级|为|第|分级|法)"
)
_OF = r"(?:\s{0,2}\(?(?:/|of|out of)\s{0,2}(?:[34]|iii|iv|ill|111|three|four)\b\)?)?"
VALUE = re.compile(
    rf"{_FILL}{{0,22}}?(?:"
    rf"(?P<d1>{_DEGREE}|undifferentiated)(?:[\s.\-]{{0,3}}{_DIFFERENTIATED}(?={_JOIN}{_DEGREE}))?(?:{_JOIN}(?P<d2>{_DEGREE}))?(?:[\s.\-]{{0,3}}{_DIFFERENTIATED})?(?![a-z])"
    rf"|(?P<t1>low|intermediate|high)(?:{_JOIN}(?P<t2>intermediate|high))?(?![a-z])(?:[\s\-]?grade)?"
    # Neither the list of what may be answered, "(1, 2, 3)", nor a decimal, a percentage or a size.
    rf"|(?:nh)?g?[\s\-]?(?P<n1>{_NUMBER})(?!,\s?[2-4]|\s?-\s?(?:3|4|iii|iv)\)?\s?:)"
    rf"(?:\s?(?:-|to|and|~|至)\s?g?(?P<n2>{_NUMBER}))?"
    rf"(?![a-z0-9%+*]|\.\d|\s?[cm]m\b|\s?x\s|\s?\+|\s?hpf){_OF}(?:\s?级)?"
    rf"|(?P<z1>{_ZH_DEGREES}|(?P<h1>[高中低])级别)"
)
"""What may stand behind a grade's name: fillers, then the grade."""
REFUSED = re.compile(
    r"(?:nuclear|nuclei|mitotic|mitosis|architectur\w*|cytologic\w*|regression|response|gleason|fuhrm\w*|furhman|isup|"
    r"inflammat\w*|black'?s|cirrhosis|treatment effect|budding|mesorect\w*|"
    r"(?:becker|ryan|mandard|dworak|r[oö]del)\w*|"
    r"hepatitis|activity|steatosis|fibrosis|dysplasia|dcis|lcis|in[\s-]?situ|intraductal|"
    r"non[\s-]?invasive|squamous intraepithelial|\bpin|van nuys|toxicity|rejection|necrosis|"
    r"(?:cribriform|comedo\w*|solid|papillary) patterns?|\bfocal|\bfocally|"
    r"areas? of|foci of|focus of|component of|clark\w*|edmondson[- ]?steiner|\btrg|miller[- ]?payne|\bmp|核|炎症|"
    r"消退|异型增生|上皮内瘤变|原位|退缩|nuclear grade [^.;]{1,24}\()[\s:,\-(\[/]{0,3}"
    r"(?:(?:type|carcinoma|component|histologic|grade|score|tumou?r|of|the|is|an?)[\s:,\-]{0,2}){0,2}$"
)
"""What a grade stands behind that is not the tumour's."""
REFUSED_AFTER = re.compile(
    r"[\s,\-(]{0,3}(?:\w{3,12}[\s\-]){0,2}?"
    r"(?:dysplasia|pin\b|p\.i\.n|intra ?-?epithelial|intraurothelial|barrett|dcis|lcis|"
    r"intraductal(?! (?:and|&) (?:inf|inv))|"
    r"(?:ductal|duct|lobular|squamous|comedo)?\s?(?:cell )?carcinoma[\s-]{0,2}in[\s-]?situ|"
    r"in[\s-]?situ(?! (?:and|&) (?:inf|inv))|adenoma|prostatic intra|异型增生|上皮内瘤变|导管原位|导管内)"
)
"""What makes a grade that of a lesion which is no invasive tumour."""
REFUSED_TIER = re.compile(
    r"[\s,\-(]{0,3}(?:hepatitis|urothelial atypia|\w{0,12}\s?atypia|nuclei|nuclear|mitotic|cytolog|核)"
)
WRAPPED = re.compile(r"(?:nuclear|nuclei|cytologic|mitotic)\.?\s{1,3}$")
"""What a grade stands behind that a full stop of the scanner's parts from it ("NUCLEAR. GRADE 3")."""
NAMED_VALUE = re.compile(
    r"(?P<n1>[1-3]|i{1,3})(?![a-z0-9%*]|\.\d|\s?\+|\s?(?:/|of|out of)\s?9|\s?[cm]m\b)"
    r"(?:\s?(?:/|of|out of)\s?(?:3|iii)\b)?"
)
"""The grade that stands behind a system's name alone ("SBR 2", "Nottingham II/III"); a sum of points is none."""
LABEL_OF_BLOCK = re.compile(r"(?:\b(?:on|in|of|see|part)|blocks?|slides?|cassettes?|sections?)[\s:#]{1,2}$")
ELSEWHERE = re.compile(
    r"(?:histor(?:y|ies) of|h/o|previous(?:ly)?|prior|outside|biopsy (?:showed|proven)|negative for|no evidence of|"
    r"metasta(?:tic|ses|sis)|既往|转移性?)[^.;:。；]{0,30}$"
)
IN_SITU = re.compile(
    r"(?:dcis|lcis|in[\s-]?situ|intraductal|dysplasia|\bpin\b|导管原位|导管内癌|原位癌)[^.;。；]{0,70}$"
)
INVASIVE = re.compile(r"invasive|infiltrating|invading|浸润")
TUMOUR = re.compile(
    r"carcinom|adenoca|tumou?r|sarcoma|grade|differentiat|type|neoplasm|stage|nhg|p[tnm][0-4x]|癌|瘤|分化|分级"
)
ENTRY = re.compile(r"\s{0,2}(?:\([^()]{0,30}\)\s{0,2})?:")
UNTICKED = re.compile(r"[\s:=]{0,4}(?:\[\s{0,3}\]|\(\s{0,3}\)|[□☐◯○])")
TICKED = re.compile(r"[\[(]\s?[x✓✔√*]\s?[\])]|[☑☒■√✓✔]")
"""A list of answers begins with an empty box; the answer stands behind the ticked one."""
CATEGORY = re.compile(r"[\s,;(]{0,3}y?p?t[0-4is]")
SYSTEMS = tuple(
    (system, re.compile(words))
    for system, words in (
        ("nottingham", r"nottingham|elston|scarff|scharff|bloom|richardson|s\.?b\.?r|combined|nhg|诺丁汉"),
        ("figo", r"figo"),
        ("edmondson_steiner", r"edmondson|steiner|worst|major"),
    )
)
"""Systems by the words that name them."""
