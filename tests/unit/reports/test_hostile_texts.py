"""Texts that are no reports, or are made to do harm: answered in time, with why."""

import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.text.normalise import normalised
from dicomsvc.reports.text.quality import LONGEST, judged

REPORT = (
    "FINAL DIAGNOSIS: A. Breast, left, lumpectomy: Invasive ductal carcinoma, Nottingham grade 2, 2.3 cm. The margins "
    "are negative. No lymphovascular invasion is identified. ER 95%, PR negative, HER2 1+. Lymph nodes: 0/3. pT2 pN0."
)
CHINESE = (
    "左肾透明细胞型肾细胞癌，WHO/ISUP 2级，大小4.5×3.2×3.0cm，脉管内见癌栓，切缘阴性，淋巴结0/5，CK7(-)，CD10(+)。"
)


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("", "und", "hardly any letters"),
        ("12 34 56 " * 50, "und", "hardly any letters"),
        (REPORT * (LONGEST // len(REPORT) + 1), "und", f"longer than {LONGEST} characters"),
        ("\x00\x01\x02\x1b[31;" * 1_000, "und", "hardly any letters"),
        ("qx#zv kj~wq vbnm^zz " * 40, "en", "unreadable"),
        (CHINESE.encode().decode("gb18030", "replace"), "zh", "unreadable"),
        (CHINESE.encode("gb18030").decode("latin-1"), "en", "unreadable"),
        ("Der Tumor misst 2,3 cm, die Ränder sind nicht befallen, kein Nachweis von Metastasen.", "de", "German"),
        ("La tumeur mesure 2,3 cm. Les marges sont saines. Absence de métastase dans les ganglions.", "fr", "French"),
        ("El tumor mide 2,3 cm. Los márgenes están libres. Sin metástasis en los ganglios.", "es", "Spanish"),
        ("腫瘍径は4.5cmで、腎周囲脂肪への浸潤を認める。切除断端は陰性である。", "ja", "Japanese"),
        ("왼쪽 신장 투명세포 신세포암, 크기 4.5 cm, 절제연 음성, 림프절 전이 없음", "ko", "Korean"),
        ("سرطان القنوات الغازية في الثدي الأيسر، الهوامش خالية من الورم", "ar", "Arabic"),
        ("Инвазивный протоковый рак, края резекции без опухоли, метастазов нет.", "ru", "Cyrillic"),
    ],
)
def test_what_is_no_readable_report_is_refused_with_the_reason(text: str, language: str, reason: str) -> None:
    report = structure(text)
    assert not report.quality.structured
    assert report.values == ()
    assert report.quality.language == language
    assert reason in (report.quality.reason or "")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (REPORT, "en"),
        (REPORT.upper(), "en"),
        (CHINESE, "zh"),
        ("CK7(-)，CD10(+)，Vimentin(+)，PAX8(+)，CA9(+)，P504S(-)，Ki-67(5%+)，左肾癌", "zh"),
        ("左腎透明細胞癌，切緣未見腫瘤侵犯，淋巴結未見轉移", "zh"),
        ("ER 95%, PR 20%, HER2 1+, Ki-67 15%", "en"),
    ],
)
def test_short_terse_and_capital_reports_are_read(text: str, language: str) -> None:
    quality = judged(text)
    assert (quality.structured, quality.language) == (True, language)


def test_a_scan_with_three_letters_in_ten_wrong_is_refused_and_one_in_twenty_is_read() -> None:
    random.seed(5)
    letters = "abcdefghijklmnopqrstuvwxyz .,:|~^0123456789"

    def scanned(share: float) -> str:
        return "".join(random.choice(letters) if random.random() < share else letter for letter in REPORT * 5)

    assert judged(scanned(0.05)).structured
    assert not judged(scanned(0.35)).structured


BOMBS = {
    "one word": "a" * 60_000,
    "blanks": REPORT + " " * 60_000 + "x",
    "line ends": REPORT + "\n" * 60_000 + "x",
    "brackets": REPORT + "ER (" * 15_000,
    "open brackets": REPORT + "(" * 60_000,
    "fractions": REPORT + "1/" * 30_000,
    "sizes": REPORT + "4.5 x 3.2 x " * 5_000,
    "denials": REPORT + "no " * 20_000,
    "headings": REPORT + "diagnosis: " * 5_000,
    "sides": "left breast margin " * 3_000,
    "stains": REPORT + "positive for CK7, CK20, " * 2_500,
    "report again and again": REPORT * 250,
    "Chinese again and again": CHINESE * 700,
}


@pytest.mark.parametrize("name", BOMBS)
def test_texts_made_to_take_time_are_answered_within_the_bound(name: str) -> None:
    text = BOMBS[name][:60_000]
    began = time.process_time()
    structure(text)
    assert time.process_time() - began < 10


def test_ten_megabytes_of_garbage_are_refused_at_once() -> None:
    garbage = random.Random(1).randbytes(10 << 20).decode("latin-1")
    began = time.process_time()
    assert not structure(garbage).quality.structured
    assert time.process_time() - began < 1


ODD = ["ER(", "%", "+", "-", "\n\n", ":", "\x00", "\ud800", "\u202e", "é", "1/0", "Ⅱ", "ﬁ"]
PIECES = st.sampled_from([*REPORT.split(), *CHINESE.split("，"), *ODD])


@given(st.text())
def test_normalised_text_is_as_long_as_the_original(text: str) -> None:
    assert len(normalised(text)) == len(text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=60).map(" ".join))
def test_any_text_gives_values_whose_evidence_lies_in_it(text: str) -> None:
    report = structure(text)
    for value in report.values:
        assert value.evidence or value.status.value == "derived"
        for place in value.evidence:
            assert 0 <= place.start < place.end <= len(text)
            assert text[place.start : place.end].strip()
