"""Tiles and chunks give what the whole image gives: each thing once, rasters in their place."""

import itertools
import random
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
from scipy.spatial import cKDTree

from dicomsvc.ai.catalogue.manifest import OutputKind
from dicomsvc.ai.decoding import ChunkFindings, Stitcher, TileFindings, decoder, join_instances
from dicomsvc.ai.decoding.stains import stain_density
from dicomsvc.ai.findings import Instances
from dicomsvc.errors import DamagedFile
from dicomsvc.wsi.plan import Rectangle, TilePlan, make_plan
from tests.unit.ai.made_models import made_manifest


@pytest.fixture(scope="module")
def crop(cmu_small_region: Path) -> np.ndarray:
    """A part of the real slide, 0.5 um a pixel, with some 450 nuclei."""
    slide = openslide.OpenSlide(str(cmu_small_region))
    return np.asarray(slide.read_region((0, 0), 0, (1400, 1300)).convert("RGB"))


def read(image: np.ndarray, area: Rectangle) -> np.ndarray:
    pixels = np.full((area.height, area.width, 3), 255, np.uint8)
    left, top = max(area.x, 0), max(area.y, 0)
    part = image[top : area.bottom, left : area.right]
    pixels[top - area.y : top - area.y + part.shape[0], left - area.x : left - area.x + part.shape[1]] = part
    return pixels


def nuclear(pixels: np.ndarray) -> np.ndarray:
    """A model: the probability of a nucleus by the density of hematoxylin."""
    density = stain_density(pixels.reshape(-1, 3), "hematoxylin").reshape(pixels.shape[:2])
    density = cv2.GaussianBlur(density, (0, 0), 1.0)
    return np.rint(255 / (1 + np.exp((0.12 - density) / 0.04))).astype(np.uint8)[..., None]


def run(image, tile_size, overlap, *, chunk_tiles=8, regions=(), change=lambda pixels, tile: pixels, order=None):
    manifest = made_manifest(OutputKind.INSTANCES, tile_size=tile_size, overlap=overlap)
    rows, columns = image.shape[:2]
    plan = make_plan(columns, rows, (0.5, 0.5), 0.5, tile_size, overlap, regions, chunk_tiles=chunk_tiles)
    decode = decoder(manifest).decode
    chunks = []
    for chunk in plan.chunks:
        stitcher = Stitcher(plan, manifest, chunk)
        tiles = list(chunk.tiles)
        if order:
            order.shuffle(tiles)
        for tile in tiles:
            pixels = read(image, tile.context)
            stitcher.add(decode({"MASK": nuclear(change(pixels, tile))}, pixels, tile, plan.scale))
        chunks.append(stitcher.finish_chunk())
    if order:
        order.shuffle(chunks)
    return join_instances(chunks)


def assert_same_things(found: Instances, expected: Instances) -> None:
    assert len(found) == len(expected)
    distance, partner = cKDTree(expected.centroids).query(found.centroids)
    assert distance.max() <= 1
    assert len(set(partner.tolist())) == len(expected)


@pytest.fixture(scope="module")
def whole(crop: np.ndarray) -> Instances:
    return run(crop, 1600, 64)


@pytest.mark.parametrize(
    ("tile_size", "overlap", "chunk_tiles"), [(256, 64, 2), (384, 64, 1), (512, 48, 3), (300, 40, 2), (1000, 64, 1)]
)
def test_a_tiled_slide_has_the_things_of_the_whole_image(crop, whole, tile_size, overlap, chunk_tiles):
    assert len(whole) > 400
    assert_same_things(run(crop, tile_size, overlap, chunk_tiles=chunk_tiles), whole)


def test_the_order_of_tiles_and_chunks_changes_nothing(crop):
    ordered = run(crop, 300, 40, chunk_tiles=2)
    shuffled = run(crop, 300, 40, chunk_tiles=2, order=random.Random(3))
    assert np.array_equal(ordered.centroids, shuffled.centroids)
    assert np.array_equal(ordered.outline, shuffled.outline)


def test_tiles_that_see_things_differently_make_no_doubles(crop, whole):
    """Every other tile is a good deal darker, so that things grow and merge in it."""

    def darken(pixels, tile):
        return pixels if tile.number % 2 else np.rint(pixels * 0.95).astype(np.uint8)

    found = run(crop, 256, 64, chunk_tiles=2, change=darken)
    assert 0.7 * len(whole) < len(found) < 1.4 * len(whole)
    tree = cKDTree(found.centroids)
    for one, other in tree.query_pairs(20):
        size = (np.concatenate([found.polygon(one), found.polygon(other)]).max(axis=0) + 2).astype(int)
        masks = [
            cv2.fillPoly(np.zeros(size[::-1], np.uint8), [np.rint(found.polygon(row)).astype(np.int32)], [1])
            for row in (one, other)
        ]
        assert (masks[0] & masks[1]).sum() < 0.5 * min(mask.sum() for mask in masks)


def test_a_region_holds_only_what_lies_in_it(crop, whole):
    region = Rectangle(300, 200, 500, 450)
    found = run(crop, 256, 64, chunk_tiles=2, regions=(region,))
    x, y = whole.centroids.T
    inside = (x >= 300) & (x < 800) & (y >= 200) & (y < 650)
    assert_same_things(found, whole.chosen(inside))


def square(x: float, y: float, half: float) -> np.ndarray:
    return np.array(
        [[x - half, y - half], [x + half, y - half], [x + half, y + half], [x - half, y + half]], np.float32
    )


def views(*squares: tuple[float, float, float]) -> Instances:
    outlines = [square(*each) for each in squares]
    return Instances(
        np.zeros(len(squares), np.int16),
        np.array([each[:2] for each in squares], np.float32).reshape(-1, 2),
        np.ones(len(squares), np.float32),
        np.arange(len(squares) + 1, dtype=np.int64) * 4,
        np.concatenate(outlines) if outlines else np.empty((0, 2), np.float32),
        {},
    )


def stitched(chunk_tiles: int, seen: dict[tuple[int, int], list[tuple[float, float, float]]]) -> np.ndarray:
    """Join what single tiles of 128 pixels (cores of 64) say they see, by column and row of the tile."""
    manifest = made_manifest(OutputKind.INSTANCES, tile_size=128, overlap=32)
    plan = make_plan(256, 256, (0.5, 0.5), 0.5, 128, 32, chunk_tiles=chunk_tiles)
    chunks = []
    for chunk in plan.chunks:
        stitcher = Stitcher(plan, manifest, chunk)
        for tile in chunk.tiles:
            found = views(*seen.get((tile.core.x // 64, tile.core.y // 64), []))
            x, y = found.centroids.T
            core = tile.core
            depth = np.min([x - core.x, core.right - x, y - core.y, core.bottom - y], axis=0)
            stitcher.add(TileFindings(tile, found, depth.astype(np.float32)))
        chunks.append(stitcher.finish_chunk())
    found = join_instances(chunks).centroids
    return found[np.lexsort(found.T)]


@pytest.mark.parametrize("chunk_tiles", [1, 2, 4])
@pytest.mark.parametrize("border", [64, 128])
def test_two_views_of_a_thing_are_one_over_any_border(chunk_tiles, border):
    tile = border // 64 - 1
    left, right = (tile, 0), (tile + 1, 0)
    for seen, expected in (
        # Both count it: the deeper one stays.
        ({left: [(border - 3, 30, 8)], right: [(border + 1, 30, 8)]}, [(border - 3, 30)]),
        # Neither counts it: the one that is nearer to its core gives it.
        ({left: [(border + 1, 30, 8)], right: [(border - 3, 30, 8)]}, [(border + 1, 30)]),
        # One counts it, the other agrees.
        ({left: [(border - 3, 30, 8)], right: [(border - 2, 30, 8)]}, [(border - 3, 30)]),
        # Only the tile to which it belongs sees it.
        ({left: [(border - 3, 30, 8)]}, [(border - 3, 30)]),
        # The tile to which it would belong does not see it.
        ({left: [(border + 3, 30, 8)]}, []),
        # Two neighbours that touch are two.
        ({left: [(border - 8, 30, 8)], right: [(border + 8, 30, 8)]}, [(border - 8, 30), (border + 8, 30)]),
        # One sees as a whole what the other sees in two.
        ({left: [(border - 4, 30, 14)], right: [(border + 3, 30, 6), (border - 9, 30, 6)]}, [(border - 4, 30)]),
    ):
        assert stitched(chunk_tiles, seen).tolist() == [list(each) for each in expected], seen


@pytest.mark.parametrize("chunk_tiles", [1, 2, 4])
def test_a_thing_on_a_corner_is_there_once_whatever_each_tile_thinks(chunk_tiles):
    shifts = (-2.0, 2.0)
    tiles = list(itertools.product((0, 1), (0, 1)))
    thoughts = list(itertools.product(itertools.product(shifts, shifts), repeat=4))
    for thought in random.Random(chunk_tiles).sample(thoughts, 50):
        seen = {tile: [(64 + dx, 64 + dy, 9)] for tile, (dx, dy) in zip(tiles, thought, strict=True)}
        found = stitched(chunk_tiles, seen)
        assert len(found) <= 1, thought
        if any(seen[tile][0][:2] == (64 + shifts[tile[0]], 64 + shifts[tile[1]]) for tile in tiles):
            assert len(found) == 1, thought


def raster_chunks(kind, tensor, *, regions=(), chunk_tiles=2, columns=230, rows=170, **options):
    """Run a model that gives for each tile the part of ``tensor`` (a whole plane) that it sees."""
    manifest = made_manifest(kind, tile_size=64, overlap=8, **options)
    plan: TilePlan = make_plan(columns, rows, (0.5, 0.5), 0.5, 64, 8, regions, chunk_tiles=chunk_tiles)
    decode = decoder(manifest, probability=True)
    stride = manifest.output.stride
    name = next(iter(manifest.output.tensors.values()))
    padded = np.pad(tensor, ((64, 64), (64, 64), (0, 0)))
    for chunk in plan.chunks:
        stitcher = Stitcher(plan, manifest, chunk)
        for tile in chunk.tiles:
            left, top = tile.context.x // stride + 64, tile.context.y // stride + 64
            part = padded[top : top + 64 // stride, left : left + 64 // stride]
            pixels = np.zeros((64, 64, 3), np.uint8)
            stitcher.add(decode.decode({name: part}, pixels, tile, plan.scale))
        yield stitcher.finish_chunk()


def joined(chunks, name, fill):
    chunks = list(chunks)
    right = max(chunk.rasters[name].place.right for chunk in chunks)
    bottom = max(chunk.rasters[name].place.bottom for chunk in chunks)
    first = chunks[0].rasters[name].values
    whole = np.full((bottom, right, *first.shape[2:]), fill, first.dtype)
    for chunk in chunks:
        raster = chunk.rasters[name]
        whole[raster.place.y : raster.place.bottom, raster.place.x : raster.place.right] = raster.values
    return whole


@pytest.mark.parametrize("stride", [1, 2])
def test_class_maps_of_tiles_make_the_map_of_the_whole(stride):
    rng = np.random.default_rng(4)
    shape = (-(-170 // stride), -(-230 // stride))
    tensor = rng.integers(0, 256, (*shape, 3), np.uint8)
    chunks = list(raster_chunks(OutputKind.SEGMENTATION, tensor, classes=3, stride=stride))
    expected = np.where(tensor.max(axis=2) >= 127.5, tensor.argmax(axis=2) + 1, 0)
    assert np.array_equal(joined(chunks, "class_map", 9), expected)
    assert np.array_equal(joined(chunks, "probability", 9), tensor)
    assert {raster.cell for chunk in chunks for raster in chunk.rasters.values()} == {stride}


def test_a_background_channel_is_no_class():
    tensor = np.random.default_rng(5).random((170, 230, 3)).astype(np.float32)
    chunks = raster_chunks(OutputKind.SEGMENTATION, tensor, classes=2)
    assert np.array_equal(joined(chunks, "class_map", 9), tensor.argmax(axis=2))


def test_a_map_keeps_its_values_and_has_none_outside_of_the_regions():
    tensor = np.random.default_rng(6).normal(size=(170, 230, 1)).astype(np.float32)
    whole = joined(raster_chunks(OutputKind.MAP, tensor), "map", 9)
    assert np.array_equal(whole, tensor[:, :, 0])
    region = Rectangle(50, 60, 70, 40)
    part = joined(raster_chunks(OutputKind.MAP, tensor, regions=(region,)), "map", np.nan)
    expected = np.full((170, 230), np.nan, np.float32)
    expected[60:100, 50:120] = tensor[60:100, 50:120, 0]
    assert np.array_equal(part, expected[: part.shape[0], : part.shape[1]], equal_nan=True)
    assert not np.isfinite(expected[part.shape[0] :]).any()


def test_an_image_keeps_its_colours():
    tensor = np.random.default_rng(7).integers(0, 256, (170, 230, 3), np.uint8)
    assert np.array_equal(joined(raster_chunks(OutputKind.IMAGE, tensor), "image", 9), tensor)


def test_a_classified_tile_is_one_cell():
    manifest = made_manifest(OutputKind.CLASSIFICATION, classes=3, tile_size=64, overlap=8)
    plan = make_plan(230, 170, (0.5, 0.5), 0.5, 64, 8, chunk_tiles=2)
    decode = decoder(manifest)
    chunks = []
    for chunk in plan.chunks:
        stitcher = Stitcher(plan, manifest, chunk)
        for tile in chunk.tiles:
            probability = np.eye(3, dtype=np.float32)[(tile.core.x // 48 + tile.core.y // 48) % 3]
            stitcher.add(decode.decode({"PROBABILITY": probability}, np.zeros((64, 64, 3)), tile, plan.scale))
        chunks.append(stitcher.finish_chunk())
    row, column = np.mgrid[:4, :5]
    assert np.array_equal(joined(chunks, "class_map", 9), (row + column) % 3 + 1)
    assert chunks[0].rasters["class_map"].cell == 48


def peaks(*places):
    y, x = np.mgrid[:256, :256] + 0.5
    heat = np.zeros((256, 256), np.float32)
    for cx, cy, height in places:
        heat = np.maximum(heat, height * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18))
    return heat[..., None]


def test_points_are_the_peaks_and_are_there_once():
    manifest = made_manifest(OutputKind.POINTS, tile_size=128, overlap=32)
    heat = peaks((60.5, 60.5, 1), (64.5, 100.5, 0.9), (100.5, 64.5, 0.7), (30.5, 30.5, 0.3), (200.5, 128.5, 1))
    plan = make_plan(256, 256, (0.5, 0.5), 0.5, 128, 32, chunk_tiles=1)
    padded = np.pad(heat, ((32, 96), (32, 96), (0, 0)))
    decode = decoder(manifest)
    chunks = []
    for chunk in plan.chunks:
        stitcher = Stitcher(plan, manifest, chunk)
        for tile in chunk.tiles:
            x, y = tile.context.x + 32, tile.context.y + 32
            part = padded[y : y + 128, x : x + 128]
            stitcher.add(decode.decode({"HEAT": part}, np.zeros((128, 128, 3)), tile, plan.scale))
        chunks.append(stitcher.finish_chunk())
    found = join_instances(chunks)
    at = sorted(map(tuple, found.centroids.tolist()))
    assert at == [(60.5, 60.5), (64.5, 100.5), (100.5, 64.5), (200.5, 128.5)]
    assert sorted(found.probability.round(2).tolist()) == pytest.approx([0.7, 0.9, 1, 1])


def test_two_peaks_too_near_are_the_higher_one():
    tile = make_plan(256, 256, (0.5, 0.5), 0.5, 256, 0).chunks[0].tiles[0]
    heat = peaks((100.5, 100.5, 0.8), (108.5, 100.5, 1))
    for distance, expected in ((3, [(100.5, 100.5), (108.5, 100.5)]), (5, [(108.5, 100.5)])):
        manifest = made_manifest(OutputKind.POINTS, tile_size=256, overlap=0, min_distance_um=distance)
        found = decoder(manifest).decode({"HEAT": heat}, np.zeros((256, 256, 3)), tile, (1.0, 1.0)).instances
        assert sorted(map(tuple, found.centroids.tolist())) == expected


@pytest.mark.parametrize("distance", [0, 3, 200])
def test_a_flat_heat_map_is_one_peak(distance):
    tile = make_plan(256, 256, (0.5, 0.5), 0.5, 256, 0).chunks[0].tiles[0]
    manifest = made_manifest(OutputKind.POINTS, tile_size=256, overlap=0, min_distance_um=distance)
    heat = np.full((256, 256, 1), 200, np.uint8)
    found = decoder(manifest).decode({"HEAT": heat}, np.zeros((256, 256, 3)), tile, (1.0, 1.0)).instances
    assert len(found) == 1


def test_noise_ends_soon_and_keeps_the_distance():
    tile = make_plan(1024, 1024, (0.5, 0.5), 0.5, 1024, 0).chunks[0].tiles[0]
    heat = np.random.default_rng(1).random((1024, 1024, 1)).astype(np.float32)
    manifest = made_manifest(OutputKind.POINTS, tile_size=1024, overlap=0, min_distance_um=10)
    found = decoder(manifest).decode({"HEAT": heat}, np.zeros((1024, 1024, 3)), tile, (1.0, 1.0)).instances
    assert len(found) > 1000
    assert not cKDTree(found.centroids).query_pairs(20)
    manifest = made_manifest(OutputKind.INSTANCES, tile_size=1024, overlap=0, min_area_um2=0)
    pixels = np.zeros((1024, 1024, 3), np.uint8)
    found = decoder(manifest).decode({"MASK": heat}, pixels, tile, (1.0, 1.0)).instances
    assert all(np.isfinite(values).all() for values in found.measurements.values())


def test_saved_chunks_are_the_same_when_loaded(tmp_path, crop):
    manifest = made_manifest(OutputKind.INSTANCES, tile_size=300, overlap=40)
    plan = make_plan(700, 600, (0.5, 0.5), 0.5, 300, 40, chunk_tiles=1)
    chunks, loaded = [], []
    for chunk in plan.chunks:
        stitcher = Stitcher(plan, manifest, chunk)
        for tile in chunk.tiles:
            pixels = read(crop[600:, 600:], tile.context)
            stitcher.add(decoder(manifest).decode({"MASK": nuclear(pixels)}, pixels, tile, plan.scale))
        chunks.append(stitcher.finish_chunk())
        chunks[-1].save(tmp_path / "chunk.npz")
        loaded.append(ChunkFindings.load(tmp_path / "chunk.npz"))
    one, other = join_instances(chunks), join_instances(iter(loaded))
    assert len(one) > 50
    assert np.array_equal(one.outline, other.outline)
    assert np.array_equal(one.measurements["area_um2"], other.measurements["area_um2"])
    assert [path.name for path in tmp_path.iterdir()] == ["chunk.npz"]


def test_saved_rasters_are_the_same_when_loaded(tmp_path):
    tensor = np.random.default_rng(8).integers(0, 256, (170, 230, 2), np.uint8)
    for number, chunk in enumerate(raster_chunks(OutputKind.SEGMENTATION, tensor, classes=2)):
        path = tmp_path / f"{number}.npz"
        chunk.save(path)
        loaded = ChunkFindings.load(path)
        assert (loaded.number, loaded.area, loaded.instances) == (chunk.number, chunk.area, None)
        for name, raster in chunk.rasters.items():
            assert loaded.rasters[name].place == raster.place
            assert np.array_equal(loaded.rasters[name].values, raster.values)


def test_a_damaged_chunk_is_noticed(tmp_path):
    tensor = np.random.default_rng(9).integers(0, 256, (170, 230, 1), np.uint8)
    chunk = next(iter(raster_chunks(OutputKind.SEGMENTATION, tensor)))
    path = tmp_path / "chunk.npz"
    chunk.save(path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", content[:200] + b"\xff" + content[201:], b"PK\x03\x04" * 20):
        path.write_bytes(damaged)
        with pytest.raises(DamagedFile):
            ChunkFindings.load(path)


def test_a_chunk_without_anything_joins_with_others():
    empty = ChunkFindings(0, Rectangle(0, 0, 10, 10), Instances.empty(["area_um2"]))
    assert len(join_instances([empty])) == 0
    assert len(join_instances([])) == 0
