"""From a mask probability to things with outlines, classes and measurements."""

import dataclasses

import numpy as np
import pytest

from dicomsvc.ai.catalogue.manifest import OutputKind, Stain
from dicomsvc.ai.decoding import decoder
from dicomsvc.errors import InvalidModel, ModelFailure
from dicomsvc.wsi.plan import Rectangle, Tile
from tests.unit.ai.made_models import made_manifest

TILE = Tile(0, Rectangle(64, 64, 128, 128), Rectangle(0, 0, 256, 256))


def disk(cx: float, cy: float, radius: float, size: int = 256) -> np.ndarray:
    y, x = np.mgrid[:size, :size] + 0.5
    return (x - cx) ** 2 + (y - cy) ** 2 <= radius * radius


def decode(mask, *, scale=(1.0, 1.0), image=None, manifest=None, tile=TILE, **settings):
    manifest = manifest or made_manifest(OutputKind.INSTANCES, **settings)
    outputs = mask if isinstance(mask, dict) else {"MASK": mask}
    if image is None:
        image = np.full((256, 256, 3), 255, np.uint8)
    return decoder(manifest).decode(outputs, image, tile, scale)


def test_a_disk_is_found_where_it_is_with_its_size():
    found = decode(np.where(disk(100, 120, 12), 204, 10).astype(np.uint8)[..., None]).instances
    assert len(found) == 1
    assert found.centroids[0] == pytest.approx((100, 120), abs=0.05)
    assert found.probability[0] == pytest.approx(0.8, abs=0.01)
    assert found.measurements["area_um2"][0] == pytest.approx(np.pi * 36, rel=0.02)
    assert found.measurements["perimeter_um"][0] == pytest.approx(2 * np.pi * 6, rel=0.05)
    assert found.measurements["major_axis_um"][0] == pytest.approx(12, rel=0.03)
    assert found.measurements["solidity"][0] > 0.95
    assert found.polygon(0).min(axis=0) == pytest.approx((88, 108), abs=0.6)
    assert found.polygon(0).max(axis=0) == pytest.approx((112, 132), abs=0.6)


def test_places_are_slide_pixels():
    tile = Tile(3, Rectangle(1064, 2064, 128, 128), Rectangle(1000, 2000, 256, 256))
    mask = disk(100, 120, 12).astype(np.float32)[..., None]
    found = decode(mask, scale=(0.5, 0.25), tile=tile).instances
    assert found.centroids[0] == pytest.approx((1100 / 0.5, 2120 / 0.25), abs=0.5)
    assert found.measurements["area_um2"][0] == pytest.approx(np.pi * 36, rel=0.02)


def test_a_coarser_tensor_gives_the_same_places_and_sizes():
    manifest = made_manifest(OutputKind.INSTANCES, stride=2)
    mask = disk(50, 60, 8, size=128).astype(np.float32)[..., None]
    found = decode(mask, manifest=manifest).instances
    assert found.centroids[0] == pytest.approx((100, 120), abs=0.1)
    assert found.measurements["area_um2"][0] == pytest.approx(np.pi * 64, rel=0.05)


def test_holes_are_filled_up_to_the_size_that_is_set():
    mask = (disk(100, 120, 14) & ~disk(100, 120, 4)).astype(np.float32)[..., None]
    ring, full = (decode(mask, hole_area_um2=area).instances for area in (0, 20))
    assert full.measurements["area_um2"][0] - ring.measurements["area_um2"][0] == pytest.approx(
        np.count_nonzero(disk(100, 120, 4)) / 4
    )


def test_things_too_small_or_too_large_are_dropped():
    mask = (disk(90, 90, 2) | disk(130, 130, 10)).astype(np.float32)[..., None]
    assert len(decode(mask).instances) == 1
    assert len(decode(mask, min_area_um2=1).instances) == 2
    assert len(decode(mask, max_area_um2=20).instances) == 0


def test_only_things_in_or_near_the_core_are_given():
    mask = (disk(100, 100, 8) | disk(50, 100, 8) | disk(12, 12, 8)).astype(np.float32)[..., None]
    found = decode(mask)
    assert sorted(found.instances.centroids[:, 0].round().tolist()) == [50, 100]
    depth = dict(zip(found.instances.centroids[:, 0].round().tolist(), found.depth.tolist(), strict=True))
    assert depth[50] == pytest.approx(-14, abs=0.1)
    assert depth[100] == pytest.approx(36, abs=0.1)


def test_the_class_is_that_of_most_of_the_thing():
    manifest = made_manifest(OutputKind.INSTANCES, classes=2, tensors={"mask": "MASK", "class": "CLASS"})
    mask = disk(100, 120, 12)
    second = mask & (np.arange(256)[None] > 95)
    planes = np.stack([~second, second], axis=2).astype(np.float32)
    outputs = {"MASK": mask.astype(np.float32)[..., None], "CLASS": planes}
    assert decode(outputs, manifest=manifest).instances.class_index.tolist() == [1]
    with_background = np.concatenate([np.ones((256, 256, 1), np.float32), planes], axis=2)
    outputs = {**outputs, "CLASS": with_background}
    assert decode(outputs, manifest=manifest).instances.class_index.tolist() == [1]


def test_a_centre_map_says_what_is_one_thing():
    manifest = made_manifest(OutputKind.INSTANCES, tensors={"mask": "MASK", "centre": "CENTRE"})
    mask = (disk(95, 120, 12) | disk(118, 120, 12)).astype(np.float32)[..., None]
    y, x = np.mgrid[:256, :256] + 0.5

    def centres(*places):
        return np.max([np.exp(-((x - cx) ** 2 + (y - 120) ** 2) / 50) for cx in places], axis=0)[..., None]

    two = decode({"MASK": mask, "CENTRE": centres(95, 118).astype(np.float32)}, manifest=manifest)
    one = decode({"MASK": mask, "CENTRE": centres(106).astype(np.float32)}, manifest=manifest)
    assert (len(two.instances), len(one.instances)) == (2, 1)


def test_a_distance_map_says_where_the_middle_is():
    manifest = made_manifest(OutputKind.INSTANCES, tensors={"mask": "MASK", "distance": "DISTANCE"})
    mask = disk(100, 100, 10).astype(np.float32)[..., None]
    peak = decode({"MASK": mask, "DISTANCE": disk(103, 100, 2).astype(np.float32)[..., None]}, manifest=manifest)
    flat = decode({"MASK": mask, "DISTANCE": np.zeros_like(mask)}, manifest=manifest)
    assert peak.instances.centroids[0] == pytest.approx([103, 100], abs=0.05)
    assert flat.instances.centroids[0] == pytest.approx([100, 100], abs=0.05)


def test_a_boundary_map_parts_things():
    manifest = made_manifest(OutputKind.INSTANCES, tensors={"mask": "MASK", "boundary": "BOUNDARY"}, split_depth=1)
    mask = (disk(95, 120, 12) | disk(110, 120, 12)).astype(np.float32)[..., None]
    boundary = np.zeros((256, 256, 1), np.float32)
    assert len(decode({"MASK": mask, "BOUNDARY": boundary}, manifest=manifest).instances) == 1
    boundary[:, 101:104] = 1
    assert len(decode({"MASK": mask, "BOUNDARY": boundary}, manifest=manifest).instances) == 2


def test_stain_densities_are_those_of_the_pixels():
    image = np.full((256, 256, 3), 255, np.uint8)
    inside = disk(100, 120, 12)
    # One unit of hematoxylin: 10 ** -density of its vector of unit length.
    vector = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
    image[inside] = np.rint(256 * 10**-vector - 1).astype(np.uint8)
    found = decode(inside.astype(np.float32)[..., None], image=image).instances
    assert found.measurements["mean_hematoxylin_od"][0] == pytest.approx(1, abs=0.02)
    assert found.measurements["mean_eosin_od"][0] == pytest.approx(0, abs=0.02)
    manifest = made_manifest(OutputKind.INSTANCES, stain=Stain.IHC)
    assert "mean_dab_od" in decode(inside.astype(np.float32)[..., None], manifest=manifest).instances.measurements


def test_nothing_is_found_in_nothing():
    found = decode(np.zeros((256, 256, 1), np.uint8))
    assert len(found.instances) == 0
    assert "area_um2" in found.instances.measurements


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        ({}, "missing"),
        ({"MASK": np.zeros((128, 256, 1), np.uint8)}, "shape"),
        ({"MASK": np.zeros((256, 256, 2), np.uint8)}, "channels"),
        ({"MASK": np.full((256, 256, 1), np.nan, np.float32)}, "not finite"),
        ({"MASK": np.zeros((256, 256, 1), np.int64)}, "int64"),
        ({"MASK": np.zeros(7, np.uint8)}, "shape"),
    ],
)
def test_a_tensor_that_breaks_its_promise_fails_by_name(outputs, why):
    with pytest.raises(ModelFailure, match=f"made: output MASK.*{why}"):
        decode(outputs)


def test_settings_and_tensors_that_are_not_known_are_refused():
    manifest = made_manifest(OutputKind.INSTANCES)
    for settings in ({"treshold": 0.5}, {"threshold": 2}, {"threshold": float("nan")}):
        wrong = dataclasses.replace(manifest, output=dataclasses.replace(manifest.output, settings=settings))
        with pytest.raises(InvalidModel, match=r"output.settings.(treshold|threshold)"):
            decoder(wrong)
    for tensors in ({}, {"mask": "MASK", "heat": "HEAT"}):
        wrong = dataclasses.replace(manifest, output=dataclasses.replace(manifest.output, tensors=tensors))
        with pytest.raises(InvalidModel, match=r"output.tensors"):
            decoder(wrong)
