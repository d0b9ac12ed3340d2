"""The page of reports in Chromium: what a person chooses, sees marked, corrects and signs is what the service keeps."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.acceptance.viewer.browser import Page, chromium
from tests.conftest import RunningService, require_program
from tests.integration.written_reports import BREAST, KIDNEY_ZH

_WIDTH, _HEIGHT = 1280, 900


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium(require_program("chromium")) as opened:
        yield opened


def until(page: Page, condition: str) -> None:
    deadline = time.monotonic() + 20
    while not page.run(condition):
        assert time.monotonic() < deadline, f"{condition}: {page.run('document.body.innerText')}"
        time.sleep(0.05)


def brought(service: RunningService, text: str, name: str) -> str:
    answer = httpx.post(f"{service.url}/api/reports", json={"text": text, "id": name}, timeout=60)
    assert answer.status_code in (200, 201), answer.text
    url: str = service.url + answer.json()["url"]
    return url


def test_a_person_finds_reads_corrects_and_signs_a_report(shared_service: RunningService, page: Page) -> None:
    # An emoji is one code point and two of a browser's units: the marks must not move.
    text = "\U0001f52c " + BREAST + "<script>document.title = 'bad'</script>"
    url = brought(shared_service, text, "PAGE-1")
    brought(shared_service, KIDNEY_ZH, "PAGE-2")
    page.go(f"{shared_service.url}/pages/reports.html", _WIDTH, _HEIGHT)
    until(page, "document.querySelectorAll('#table tbody tr').length >= 2")
    page.run("document.querySelector('#field').value = 'er', document.querySelector('#add-column').click()")
    page.run(
        "document.querySelector('#condition').value = 'positive', document.querySelector('#filter').requestSubmit()"
    )
    page.run("document.querySelector('#words').value = 'ductal', document.querySelector('#search').requestSubmit()")
    until(page, "[...document.querySelectorAll('td.snippet mark')].some(mark => mark.textContent === 'ductal')")
    until(page, "![...document.querySelectorAll('#table tbody td')].some(cell => cell.textContent === 'PAGE-2')")
    page.run("[...document.querySelectorAll('#table tbody tr')].find(row => row.innerText.includes('PAGE-1')).click()")
    until(page, "document.querySelectorAll('#text mark').length > 2")
    marked = page.run("[...document.querySelectorAll('#text mark')].map(mark => mark.textContent).join('|')")
    report = httpx.get(url, timeout=60).json()
    er = next(value for value in report["values"] if value["field"] == "er")
    assert er["raw"] in marked
    assert page.run("document.querySelector('#text').textContent") == text
    assert page.run("document.title") != "bad"
    # The text of the row's first cell is the field's title; the buttons stand in the last one.
    page.run("window.prompt = () => 'negative'")
    row = "[...document.querySelectorAll('#values tbody tr')].find(row => row.cells[1].textContent.includes('ositive'))"
    page.run(f"[...{row}.querySelectorAll('button')].find(button => button.textContent === 'Correct').click()")
    until(page, "[...document.querySelectorAll('#values td')].some(cell => cell.textContent.startsWith('corrected'))")
    page.run("document.querySelector('#accept-all').click()")
    until(page, "![...document.querySelectorAll('#values button')].some(button => button.textContent === 'Accept')")
    page.run(
        "document.querySelector('#person').value = 'Doe^Jane', document.querySelector('#organisation').value = 'H'"
    )
    page.run("document.querySelector('#sign').requestSubmit()")
    until(page, "document.querySelector('#standing').textContent.includes('signed by Doe Jane')")
    signed = httpx.get(url, timeout=60).json()
    held = {value["field"]: value["value"] for value in signed["values"]}
    assert (signed["review"], held["er"]) == ("signed", "negative")
    assert not page.errors
