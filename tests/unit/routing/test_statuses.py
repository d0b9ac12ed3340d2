"""What the answers of destinations mean."""

import pytest

from dicomsvc.errors import PeerFailure
from dicomsvc.routing.http import HttpAnswer
from dicomsvc.routing.statuses import Verdict, verdict_of
from dicomsvc.routing.stow import read_answer

REFERENCED = b'{"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}%s}]}}'
FAILED = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [%d]}}]}}'


@pytest.mark.parametrize(
    "status, verdict",
    [
        (0x0000, Verdict.SENT),
        (0xB000, Verdict.SENT),
        (0xB007, Verdict.SENT),
        (0x0116, Verdict.SENT),
        (0xA700, Verdict.AGAIN),
        (0xA7FF, Verdict.AGAIN),
        (0x0110, Verdict.AGAIN),
        (0x0213, Verdict.AGAIN),
        (0x0111, Verdict.FAILED),
        (0x0122, Verdict.FAILED),
        (0x0124, Verdict.FAILED),
        (0xA900, Verdict.FAILED),
        (0xC000, Verdict.FAILED),
        (0xCFFF, Verdict.FAILED),
    ],
)
def test_a_status_means_there_never_or_not_yet(status: int, verdict: Verdict) -> None:
    assert verdict_of(status) is verdict


@pytest.mark.parametrize(
    "status, body, verdict, code",
    [
        (200, REFERENCED % b"", Verdict.SENT, 0),
        (200, REFERENCED % b', "00081196": {"vr": "US", "Value": [45063]}', Verdict.SENT, 0xB007),
        (200, b"", Verdict.SENT, 0),
        (202, FAILED % 0xA700, Verdict.AGAIN, 0xA700),
        (409, FAILED % 0xC000, Verdict.FAILED, 0xC000),
        (409, b"[]", Verdict.FAILED, 409),
        (415, b"<html>", Verdict.FAILED, 415),
        (503, FAILED % 0xC000, Verdict.AGAIN, 503),
        (429, b"", Verdict.AGAIN, 429),
        (200, b'{"00081198": {"Value": "x"}}', Verdict.SENT, 0),
        (200, b'{"00081199": []}', Verdict.SENT, 0),
        (200, b"[" * 100_000, Verdict.SENT, 0),
    ],
)
def test_a_store_response_means_the_same(status: int, body: bytes, verdict: Verdict, code: int) -> None:
    answer = read_answer(HttpAnswer(status, body), "1.2", "1.2")
    assert (answer.verdict, answer.status) == (verdict, code)


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404])
def test_what_is_about_the_service_is_not_held_against_the_instance(status: int) -> None:
    with pytest.raises(PeerFailure):
        read_answer(HttpAnswer(status, b""), "1.2", "1.2")
