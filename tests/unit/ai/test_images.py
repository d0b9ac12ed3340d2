"""Plain pictures through a model: reading them, resampling, places in the answer."""

import contextlib
import dataclasses
import json
import os
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dicomsvc.ai.catalogue.manifest import OutputChannel, OutputKind, Stain, Step
from dicomsvc.ai.images import analyse_picture, channel_pictures, class_picture, describe, mirrored, to_plane
from dicomsvc.ai.pictures import read_picture
from dicomsvc.ai.statistics import tissue_pixels
from dicomsvc.errors import NotFound, NotParseable, ServerUnavailable, TooLarge, UnfitSlide
from dicomsvc.wsi.plan import Grid, Rectangle, make_grid
from dicomsvc.wsi.stain import apply_steps, fit_steps
from tests.unit.ai.made_models import made_manifest


class Darkness:
    """A model that answers how dark each pixel is; as backends are called, with batches."""

    description = "darkness"

    def __init__(self, kind: OutputKind = OutputKind.INSTANCES) -> None:
        self.kind = kind

    def infer(self, model, number, inputs, outputs):
        image = inputs["IMAGE"]
        dark = 255 - image.mean(axis=3, keepdims=True)
        if self.kind is OutputKind.CLASSIFICATION:
            return {outputs[0]: (dark.mean(axis=(1, 2)) / 255).astype(np.float32)}
        if self.kind is OutputKind.MAP:
            return {outputs[0]: dark.astype(np.float32)}
        if self.kind is OutputKind.IMAGE:
            return {outputs[0]: 255 - image}
        return {outputs[0]: np.rint(dark).astype(np.uint8)}

    def load(self, model): ...

    def close(self): ...


def spots(columns: int, rows: int, *places: tuple[float, float, float]) -> np.ndarray:
    """White with dark disks at (x, y, radius), in pixels whose centres are at .5."""
    image = np.full((rows, columns, 3), 255, np.uint8)
    y, x = np.mgrid[:rows, :columns] + 0.5
    for cx, cy, radius in places:
        image[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] = 10
    return image


PLACES = [(60.5, 40.5, 10), (128.5, 128.5, 9), (250.5, 100.5, 11), (300.5, 190.5, 10)]


@pytest.mark.parametrize(("mpp", "model_mpp"), [(0.5, 0.5), (0.5, 0.25), (0.25, 0.5), (0.25, 0.4)])
def test_things_are_found_at_their_pixels_whatever_the_models_resolution(mpp, model_mpp):
    manifest = made_manifest(OutputKind.INSTANCES, mpp=model_mpp, tile_size=128, overlap=32, min_area_um2=2)
    found = analyse_picture(spots(340, 220, *PLACES), mpp, manifest, Darkness())
    document = describe(found, manifest)
    assert (document["width"], document["height"], document["mpp"]) == (340, 220, mpp)
    instances = sorted(document["instances"], key=lambda instance: instance["centroid"])
    # Whole numbers are pixel centres in the answer.
    expected = [(x - 0.5, y - 0.5) for x, y, _ in PLACES]
    assert np.array([each["centroid"] for each in instances]) == pytest.approx(np.array(expected), abs=0.35)
    for instance, (x, y, radius) in zip(instances, PLACES, strict=True):
        contour = np.array(instance["contour"])
        assert contour.max(axis=0) == pytest.approx((x - 0.5 + radius, y - 0.5 + radius), abs=1.2)
        assert instance["measurements"]["area_um2"] == pytest.approx(np.pi * (radius * mpp) ** 2, rel=0.1)
    json.dumps(document, allow_nan=False)


def test_a_thing_cut_by_the_edge_is_what_the_picture_shows_of_it():
    manifest = made_manifest(OutputKind.INSTANCES, tile_size=128, overlap=32)
    document = describe(
        analyse_picture(spots(200, 150, (0, 75, 12), (200, 150, 14)), 0.5, manifest, Darkness()), manifest
    )
    instances = sorted(document["instances"], key=lambda instance: instance["centroid"])
    assert len(instances) == 2
    assert instances[0]["centroid"] == pytest.approx([4 / 3 / np.pi * 12 - 0.5, 74.5], abs=0.5)
    assert instances[0]["measurements"]["area_um2"] == pytest.approx(np.pi * 36 / 2, rel=0.1)
    contours = np.concatenate([each["contour"] for each in instances])
    assert contours.min() >= -0.5
    assert (contours.max(axis=0) <= (199.5, 149.5)).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 300), (40, 2), (128, 128), (129, 127)])
def test_a_white_picture_of_any_size_has_nothing(shape):
    manifest = made_manifest(OutputKind.INSTANCES, tile_size=128, overlap=32, mpp=0.25)
    found = analyse_picture(np.full((*shape, 3), 255, np.uint8), 0.5, manifest, Darkness())
    assert describe(found, manifest)["instances"] == []


def test_a_segmentation_tells_areas_and_gives_a_class_map():
    manifest = made_manifest(OutputKind.SEGMENTATION, tile_size=128, overlap=16, mpp=1.0)
    picture = np.full((200, 260, 3), 255, np.uint8)
    picture[:100, :130] = 0
    found = analyse_picture(picture, 0.5, manifest, Darkness(OutputKind.SEGMENTATION))
    assert describe(found, manifest)["areas"]["class 0"] == pytest.approx(0.25, abs=0.01)
    shown = class_picture(found)
    assert shown is not None
    assert np.array_equal(shown, np.where(picture[:, :, 0] == 0, 1, 0))


@pytest.mark.parametrize("kind", [OutputKind.CLASSIFICATION, OutputKind.MAP, OutputKind.IMAGE])
def test_every_kind_of_model_takes_pictures(kind):
    manifest = made_manifest(kind, tile_size=128, overlap=16)
    picture = np.random.default_rng(1).integers(0, 255, (150, 210, 3), np.uint8)
    found = analyse_picture(picture, 0.5, manifest, Darkness(kind))
    json.dumps(describe(found, manifest), allow_nan=False)
    if kind is OutputKind.IMAGE:
        assert np.array_equal(class_picture(found), 255 - picture)
    if kind is OutputKind.MAP:
        assert describe(found, manifest)["map"]["mean"] == pytest.approx(255 - picture.mean(), abs=0.01)


@pytest.mark.parametrize("kind", [OutputKind.IMAGE, OutputKind.INSTANCES])
def test_named_channels_come_as_pictures_of_their_own(kind):
    manifest = made_manifest(kind, tile_size=128, overlap=16)
    [tensor] = manifest.output.tensors.values()
    last = 2 if kind is OutputKind.IMAGE else 0
    channels = (OutputChannel("green", "Green", tensor, last // 2), OutputChannel("blue", "Blue", tensor, last))
    manifest = dataclasses.replace(manifest, output=dataclasses.replace(manifest.output, channels=channels))
    picture = spots(210, 150, (50, 50, 12))
    picture[20:90, 100:180] = (10, 90, 200)
    found = analyse_picture(picture, 0.5, manifest, Darkness(kind), channels=True)
    pictures = channel_pictures(found, manifest)
    if kind is OutputKind.IMAGE:
        assert np.array_equal(pictures["green"], 255 - picture[:, :, 1])
        assert np.array_equal(pictures["blue"], 255 - picture[:, :, 2])
    else:
        assert len(found.instances) == 1
        assert np.array_equal(pictures["blue"], np.rint(255 - picture.mean(axis=2)).astype(np.uint8))
    means = describe(found, manifest)["channels"]
    assert means["blue"]["mean"] == pytest.approx(pictures["blue"].mean() / 255, abs=1e-3)
    without = analyse_picture(picture, 0.5, manifest, Darkness(kind))
    assert bool(channel_pictures(without, manifest)) == (kind is OutputKind.IMAGE)


def test_preprocessing_steps_are_fitted_to_the_picture():
    manifest = made_manifest(OutputKind.IMAGE, tile_size=128, overlap=16)
    steps = (Step("reinhard"),)
    stepped = dataclasses.replace(manifest, input=dataclasses.replace(manifest.input, steps=steps))
    rng = np.random.default_rng(5)
    picture = np.clip(rng.normal((90, 60, 140), 25, (150, 150, 3)), 0, 200).astype(np.uint8)
    backend = Darkness(OutputKind.IMAGE)
    plain, changed = (class_picture(analyse_picture(picture, 0.5, each, backend)) for each in (manifest, stepped))
    fitted = fit_steps([("reinhard", {})], tissue_pixels(picture))
    assert np.array_equal(plain, 255 - picture)
    assert np.abs(changed.astype(int) - (255 - apply_steps(picture, fitted))).max() <= 1
    assert not np.array_equal(plain, changed)
    white = np.full((50, 50, 3), 255, np.uint8)
    assert class_picture(analyse_picture(white, 0.5, stepped, backend)).max() <= 5


def test_a_picture_that_the_model_is_not_made_for_is_refused():
    picture = np.zeros((10, 10, 3), np.uint8)
    manifest = made_manifest(OutputKind.INSTANCES, mpp=0.25)
    with pytest.raises(UnfitSlide, match=r"needs 0.25 um a pixel and takes up to 0.5; the picture has 1"):
        analyse_picture(picture, 1.0, manifest, Darkness())
    fluorescent = made_manifest(OutputKind.INSTANCES, stain=Stain.FLUORESCENCE)
    with pytest.raises(UnfitSlide, match="not for pictures in colour"):
        analyse_picture(picture, 0.5, fluorescent, Darkness())


def test_a_server_that_stays_away_is_not_waited_for_for_ever():
    class Away(Darkness):
        def infer(self, model, number, inputs, outputs):
            raise ServerUnavailable("gone")

    manifest = made_manifest(OutputKind.INSTANCES, tile_size=128, overlap=16)
    with pytest.raises(ServerUnavailable, match="gone"):
        analyse_picture(np.zeros((50, 50, 3), np.uint8), 0.5, manifest, Away(), patience_seconds=0.1)


def test_resampling_keeps_every_place():
    picture = np.random.default_rng(2).integers(0, 255, (30, 45, 3), np.uint8)
    halved = to_plane(picture, make_grid(45, 30, (0.5, 0.5), 1.0))
    assert halved.shape == (15, 23, 3)
    assert np.abs(halved[3, 5] - picture[6:8, 10:12].reshape(4, 3).mean(axis=0)).max() <= 0.5
    thirds = to_plane(picture, Grid(30, 20, (Fraction(3, 2), Fraction(3, 2))))
    assert thirds.shape == (20, 30, 3)
    slope = (np.arange(30)[:, None, None] * 5 + np.arange(45)[None, :, None] * 2 + np.zeros(3)).astype(np.uint8)
    doubled = to_plane(slope, make_grid(45, 30, (0.5, 0.5), 0.25))
    assert doubled.shape == (60, 90, 3)
    assert np.abs(doubled.reshape(30, 2, 45, 2, 3).mean(axis=(1, 3)) - slope)[2:-2, 2:-2].max() <= 1


def test_what_lies_outside_is_the_mirror_image():
    plane = np.arange(12, dtype=np.uint8).reshape(3, 4, 1).repeat(3, axis=2)
    seen = mirrored(plane, Rectangle(-2, -1, 8, 5))
    assert seen[0, :, 0].tolist() == [1, 0, 0, 1, 2, 3, 3, 2]
    assert seen[:, 2, 0].tolist() == [0, 0, 4, 8, 8]
    assert mirrored(plane, Rectangle(-50, -50, 200, 200)).shape == (200, 200, 3)


COLOURS = np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8)


def write(path: Path, image: Image.Image) -> Path:
    image.save(path)
    return path


def test_pictures_come_out_as_rgb_whatever_they_hold(tmp_path):
    colour = Image.fromarray(COLOURS)
    grey = COLOURS[:, :, 0]
    wide = grey.astype(np.uint16) * 257
    alpha = np.dstack([COLOURS, np.where(grey > 128, 255, 0).astype(np.uint8)])
    tifffile.imwrite(tmp_path / "16.tif", COLOURS.astype(np.uint16) * 257, photometric="rgb")
    tifffile.imwrite(tmp_path / "planar.tif", COLOURS.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "alpha.tif", alpha, photometric="rgb", extrasamples=["unassalpha"])
    tifffile.imwrite(tmp_path / "float.tif", (grey / 255).astype(np.float32))
    palette = colour.quantize(16)
    on_white = np.where(alpha[:, :, 3:] > 0, COLOURS, 255)
    three = np.repeat(grey[:, :, None], 3, axis=2)
    for path, expected in [
        (write(tmp_path / "a.png", colour), COLOURS),
        (write(tmp_path / "a.tif", colour), COLOURS),
        (write(tmp_path / "grey.png", Image.fromarray(grey)), three),
        (write(tmp_path / "wide.png", Image.fromarray(wide)), three),
        (write(tmp_path / "wide.tif", Image.fromarray(wide)), three),
        (write(tmp_path / "alpha.png", Image.fromarray(alpha)), on_white),
        (write(tmp_path / "palette.png", palette), np.asarray(palette.convert("RGB"))),
        (write(tmp_path / "bits.png", Image.fromarray(grey > 128)), (three > 128) * 255),
        (write(tmp_path / "palette.tif", palette), np.asarray(palette.convert("RGB"))),
        (tmp_path / "16.tif", COLOURS),
        (tmp_path / "planar.tif", COLOURS),
        (tmp_path / "alpha.tif", on_white),
        (tmp_path / "float.tif", three),
    ]:
        read = read_picture(path)
        assert read.dtype == np.uint8, path.name
        assert np.array_equal(read, expected), path.name
    jpeg = read_picture(write(tmp_path / "a.jpg", colour))
    assert jpeg.shape == COLOURS.shape


def test_a_bad_file_is_refused_and_never_crashes(tmp_path):
    write(tmp_path / "a.png", Image.fromarray(COLOURS))
    write(tmp_path / "a.tif", Image.fromarray(COLOURS))
    with pytest.raises(NotFound):
        read_picture(tmp_path / "none.png")
    with pytest.raises(NotFound):
        read_picture(tmp_path)
    for source in ("a.png", "a.tif"):
        content = (tmp_path / source).read_bytes()
        rng = np.random.default_rng(4)
        for trial in range(60):
            damaged = bytearray(content)
            for at in rng.integers(0, len(content), 8):
                damaged[at] = rng.integers(0, 256)
            path = tmp_path / f"damaged{trial}"
            path.write_bytes(bytes(damaged[: rng.integers(1, len(damaged))]) if trial % 2 else bytes(damaged))
            with contextlib.suppress(NotParseable, TooLarge):
                assert read_picture(path).ndim == 3


def test_a_small_file_that_claims_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")):
        chunks += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(TooLarge):
        read_picture(tmp_path / "bomb.png")


def test_a_pipe_is_no_picture_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(NotFound, match="no plain file"):
        read_picture(tmp_path / "pipe.png")
