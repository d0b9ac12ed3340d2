"""DeepLIIF's requests against the running service, sent as its ImageJ plugin and its scripts send them."""

import base64
import io
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import RunningService
from tests.integration.made_ihc import MadeField, made_field

MODALITIES = {"Hema", "DAPI", "Lap2", "Marker", "Seg"}
DRAWN = {"SegOverlaid", "SegRefined"}
SCORING = {
    *("num_total", "num_pos", "num_neg", "percent_pos"),
    *("prob_thresh", "size_thresh", "size_thresh_upper", "marker_thresh"),
}


def png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def picture_of(answer: dict, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["images"][name], validate=True))))


def part(data: bytes, name: str = "field.png") -> tuple[str, bytes, str]:
    return (name, data, "image/png")


@pytest.fixture(scope="module")
def field() -> MadeField:
    return made_field(1)


@pytest.fixture(scope="module")
def inferred(shared_service: RunningService, field: MadeField) -> dict:
    """What the plugin gets: it sends resolution and pil=true."""
    answer = httpx.post(
        f"{shared_service.url}/api/infer",
        files={"img": part(png(field.picture))},
        params={"resolution": "20x", "pil": "true"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_reply_has_what_the_plugin_reads(inferred: dict, field: MadeField) -> None:
    assert set(inferred["images"]) == MODALITIES | DRAWN
    for name in inferred["images"]:
        assert picture_of(inferred, name).shape == field.picture.shape
    scoring = inferred["scoring"]
    assert set(scoring) == SCORING
    assert all(type(scoring[name]) is int for name in ("num_total", "num_pos", "num_neg"))
    assert scoring["num_pos"] + scoring["num_neg"] == scoring["num_total"]
    assert (scoring["prob_thresh"], scoring["size_thresh_upper"]) == (150, None)


def test_cells_are_counted_and_told_apart(inferred: dict, field: MadeField) -> None:
    scoring = inferred["scoring"]
    assert scoring["num_total"] == pytest.approx(len(field.centres), rel=0.05)
    assert scoring["percent_pos"] == pytest.approx(100 * field.positive.mean(), abs=5)
    refined = picture_of(inferred, "SegRefined")
    x, y = field.centres.round().astype(int).T
    shown = refined[y, x]
    agree = (shown[:, 0] == 255) == field.positive
    assert (shown.max(axis=1) == 255).mean() > 0.95
    assert agree.mean() > 0.95


def test_post_processing_of_what_was_inferred_gives_the_same_again(
    shared_service: RunningService, inferred: dict, field: MadeField
) -> None:
    images = inferred["images"]
    files = {
        "img": part(png(field.picture)),
        "seg_img": part(base64.b64decode(images["Seg"])),
        "marker_img": part(base64.b64decode(images["Marker"])),
    }
    again = httpx.post(f"{shared_service.url}/api/postprocess", files=files, params={"resolution": "20x"}).json()
    assert set(again["images"]) == DRAWN
    assert again["scoring"] == inferred["scoring"]
    assert again["images"] == {name: images[name] for name in DRAWN}


def test_thresholds_do_what_they_say(shared_service: RunningService, inferred: dict, field: MadeField) -> None:
    seg = base64.b64decode(inferred["images"]["Seg"])

    def scored(**thresholds: object) -> dict:
        files = {"img": part(png(field.picture)), "seg_img": part(seg)}
        query = {"resolution": "20x", "pil": True, **thresholds}
        return httpx.post(f"{shared_service.url}/api/postprocess", files=files, params=query).json()["scoring"]

    plain = scored(size_thresh=0)
    assert plain["marker_thresh"] is None, "without a marker picture it takes no part"
    assert scored(size_thresh=100_000)["num_total"] == 0
    assert scored(size_thresh=100_000)["percent_pos"] == 0
    assert scored(size_thresh=0, size_thresh_upper=1)["num_total"] == 0
    assert scored(size_thresh=0, prob_thresh=254)["num_total"] <= plain["num_total"]


def test_slim_and_nopost_leave_out_what_they_say(shared_service: RunningService, field: MadeField) -> None:
    def inferred_with(**query: str) -> dict:
        files = {"img": part(png(field.picture[:200, :200]))}
        return httpx.post(f"{shared_service.url}/api/infer", files=files, params=query, timeout=60).json()

    slim = inferred_with(slim="", resolution="20x")
    assert set(slim["images"]) == {"SegRefined"}
    assert set(slim["scoring"]) == SCORING
    plain = inferred_with(nopost="true", resolution="20x")
    assert set(plain["images"]) == MODALITIES
    assert "scoring" not in plain


@pytest.mark.parametrize("resolution", ["10x", "40x"])
def test_every_resolution_is_taken(shared_service: RunningService, field: MadeField, resolution: str) -> None:
    factor = {"10x": 0.5, "40x": 2}[resolution]
    size = tuple(round(each * factor) for each in field.picture.shape[1::-1])
    resized = np.asarray(Image.fromarray(field.picture).resize(size, Image.Resampling.BICUBIC))
    answer = httpx.post(
        f"{shared_service.url}/api/infer",
        files={"img": part(png(resized))},
        params={"resolution": resolution},
        timeout=60,
    ).json()
    assert answer["scoring"]["num_total"] == pytest.approx(len(field.centres), rel=0.1)
    assert answer["scoring"]["percent_pos"] == pytest.approx(100 * field.positive.mean(), abs=8)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "BMP", "WEBP"])
def test_common_formats_are_taken(shared_service: RunningService, field: MadeField, kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(field.picture[:64, :64]).save(stream, kind)
    answer = httpx.post(
        f"{shared_service.url}/api/infer",
        files={"img": ("field", stream.getvalue())},
        params={"resolution": "20x", "nopost": ""},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert picture_of(answer.json(), "Seg").shape == (64, 64, 3)


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in some hundred bytes."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("files", "query", "status", "message"),
    [
        ({"img": b"no picture"}, {}, 400, "img: cannot be read as a picture"),
        ({"img": b"\x89PNG\r\n\x1a\nbroken"}, {}, 400, "img: cannot be read as a picture"),
        ({"img": bomb()}, {}, 413, "megapixels"),
        ({"other": b"x"}, {}, 400, "no file img"),
        ({"img": b"x"}, {"resolution": "80x"}, 400, "resolution is one of 10x, 20x, 40x"),
        ({"img": b"x"}, {"prob_thresh": "255"}, 400, "prob_thresh is an integer from 0 to 254"),
        ({"img": b"x"}, {"prob_thresh": "-1"}, 400, "prob_thresh"),
        ({"img": b"x"}, {"size_thresh": "none"}, 400, "size_thresh is an integer"),
        ({"img": b"x"}, {"size_thresh_upper": "0"}, 400, "or none"),
        ({"img": b"x"}, {"marker_thresh": "256"}, 400, "or auto or none"),
        ({"img": b"x"}, {"marker_thresh": "²"}, 400, "marker_thresh"),
    ],
)
def test_what_is_wrong_is_said(
    shared_service: RunningService, files: dict, query: dict, status: int, message: str
) -> None:
    answer = httpx.post(f"{shared_service.url}/api/infer", files=files, params=query)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]


def test_a_segmentation_of_another_size_is_refused(shared_service: RunningService, field: MadeField) -> None:
    files = {"img": part(png(field.picture)), "seg_img": part(png(field.picture[:100]))}
    answer = httpx.post(f"{shared_service.url}/api/postprocess", files=files)
    assert answer.status_code == 400
    assert "seg_img has 400 x 100 pixels, img 400 x 400" in answer.json()["error"]


def test_a_body_that_is_no_form_or_is_cut_short_is_refused(shared_service: RunningService) -> None:
    assert httpx.post(f"{shared_service.url}/api/infer", json={}).status_code == 415
    cut = b'--b\r\nContent-Disposition: form-data; name="img"; filename="x"\r\n\r\nabc'
    answer = httpx.post(
        f"{shared_service.url}/api/infer", content=cut, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 400
    assert "cut short" in answer.json()["error"]


def test_a_file_name_steers_no_path_and_nothing_is_left_on_disk(
    shared_service: RunningService, field: MadeField
) -> None:
    files = {"img": ("../../../../etc/passwd", png(field.picture[:100, :100]))}
    assert httpx.post(f"{shared_service.url}/api/infer", files=files, params={"slim": ""}).status_code == 200
    assert not list((shared_service.data / "ihc").glob("incoming-*"))


def test_the_service_answers_others_while_it_infers_and_forgets_who_left(
    shared_service: RunningService, field: MadeField
) -> None:
    large = np.tile(field.picture, (2, 3, 1))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            httpx.post,
            f"{shared_service.url}/api/infer",
            files={"img": part(png(large))},
            params={"resolution": "20x", "slim": ""},
            timeout=120,
        )
        began_all, slowest, answered = time.monotonic(), 0.0, 0
        while not running.done():
            began = time.monotonic()
            assert httpx.get(f"{shared_service.url}/healthz").status_code == 200
            slowest = max(slowest, time.monotonic() - began)
            answered += 1
            time.sleep(0.02)
        assert running.result().status_code == 200
        took = time.monotonic() - began_all
    assert answered > 5
    # On a busy machine everything is slow; what must not be is that one answer waits for the inference.
    assert slowest < max(0.5, took / 2)
    host, port = shared_service.url.removeprefix("http://").split(":")
    body = (
        b'--b\r\nContent-Disposition: form-data; name="img"; filename="x.png"\r\n\r\n' + png(large) + b"\r\n--b--\r\n"
    )
    head = (
        f"POST /api/infer?resolution=20x HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + body)
        time.sleep(0.5)
    deadline = time.monotonic() + 15
    while list((shared_service.data / "ihc").glob("incoming-*")):
        assert time.monotonic() < deadline, "the picture of a client that left is kept"
        time.sleep(0.1)
    assert "internal error" not in json.dumps(httpx.get(f"{shared_service.url}/readyz").json())
