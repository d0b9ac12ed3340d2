"""The page of immunohistochemistry in Chromium: what a person turns and clicks is what the service keeps."""

import io
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.acceptance.viewer.browser import Page, chromium
from tests.conftest import RunningService, require_program
from tests.integration.made_ihc import made_field

_WIDTH, _HEIGHT = 1280, 860


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium(require_program("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def made(shared_service: RunningService) -> dict[str, str]:
    return new_region(shared_service)


@pytest.fixture
def region(shared_service: RunningService, page: Page, made: dict[str, str]) -> str:
    """The URL of a region that the page shows, which no test changes."""
    return shown(page, shared_service, made)


def new_region(service: RunningService) -> dict[str, str]:
    stream = io.BytesIO()
    Image.fromarray(made_field(5).picture).save(stream, "PNG")
    files = {"img": ("f.png", stream.getvalue())}
    answer = httpx.post(f"{service.url}/api/ihc/pictures", params={"mpp": 0.5}, files=files, timeout=60)
    assert answer.status_code == 201, answer.text
    region: dict[str, str] = answer.json()
    return region


def shown(page: Page, service: RunningService, made: dict[str, str]) -> str:
    page.errors.clear()
    page.go(f"{service.url}{made['page']}", _WIDTH, _HEIGHT)
    until(page, "Number(document.querySelector('#total').textContent) > 0")
    return service.url + made["url"]


def until(page: Page, condition: str) -> None:
    deadline = time.monotonic() + 20
    while not page.run(condition):
        assert time.monotonic() < deadline, f"{condition}: {page.run('document.body.innerText')}"
        time.sleep(0.05)


def turn(page: Page, slider: str, value: int) -> None:
    page.run(
        f"(() => {{ const s = document.getElementById('{slider}'); s.value = {value};"
        " s.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def click(page: Page, x: float, y: float, tool: str) -> None:
    """Click on a pixel of the region."""
    page.run(
        f"document.querySelector('input[value={tool}]').checked = true;"
        "(() => { const v = document.getElementById('view'), b = v.getBoundingClientRect();"
        f" v.dispatchEvent(new MouseEvent('click', {{clientX: b.left + {x} * b.width / v.width,"
        f" clientY: b.top + {y} * b.height / v.height, bubbles: true}})); }})()"
    )


def scoring(region: str, **order: object) -> dict:
    answer: dict = httpx.post(f"{region}/scoring", json=order).json()["scoring"]
    return answer


def test_the_percentage_changes_live_and_is_what_the_service_says(page: Page, region: str) -> None:
    shown = "document.querySelector('#percent strong').textContent"
    assert page.run(shown) == f"{scoring(region)['percent_pos']:.1f}"
    page.run("document.getElementById('marker-mode').value = 'above'")
    turn(page, "level", 5)
    wanted = scoring(region, marker_thresh=5)
    until(page, f"{shown} === '{wanted['percent_pos']:.1f}'")
    turn(page, "prob", 250)
    until(page, f"document.querySelector('#total').textContent === '{scoring(region, prob_thresh=250)['num_total']}'")
    assert page.errors == []


def test_cells_are_drawn_over_the_picture_in_their_colours(page: Page, region: str) -> None:
    pixels = page.run(
        "(() => { const d = document.getElementById('view').getContext('2d').getImageData(0, 0, 400, 400).data;"
        " let red = 0, blue = 0; for (let i = 0; i < d.length; i += 4) {"
        " red += d[i] === 255 && d[i+1] === 0 && d[i+2] === 0; blue += d[i] === 0 && d[i+1] === 0 && d[i+2] === 255; }"
        " return [red, blue]; })()"
    )
    found = scoring(region)
    assert pixels[0] > 30 * found["num_pos"] > 0
    assert pixels[1] > 30 * found["num_neg"] > 0
    assert np.ptp(page.picture()) == 255


def test_clicks_flip_remove_and_add_cells(page: Page, shared_service: RunningService) -> None:
    region = shown(page, shared_service, new_region(shared_service))
    before = scoring(region)
    cells = httpx.post(f"{region}/scoring", json={"geojson": True}).json()["geojson"]["features"]
    first, second = cells[10]["properties"], cells[20]["properties"]
    click(page, first["x"], first["y"], "flip")
    until(page, "document.querySelector('#changed').textContent.includes('1 of another class')")
    click(page, second["x"], second["y"], "remove")
    until(page, f"document.querySelector('#total').textContent === '{before['num_total'] - 1}'")
    click(page, 3, 3, "add")
    until(page, f"document.querySelector('#total').textContent === '{before['num_total']}'")
    after = scoring(region)
    assert (after["num_added"], after["num_removed"], after["num_reclassified"]) == (1, 1, 1)
    assert [each["what"] for each in httpx.get(f"{region}/edits").json()] == ["class", "remove", "add"]
    assert page.errors == []


def test_the_page_asks_no_other_host(page: Page, region: str, shared_service: RunningService) -> None:
    assert page.answers
    assert all(url.startswith((shared_service.url, "blob:", "data:")) for url, _, _ in page.answers)
