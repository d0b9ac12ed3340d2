"""Tile plans."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomsvc.errors import BadRequest, InvalidModel, UnfitSlide
from dicomsvc.wsi.plan import Rectangle, TilePlan, make_grid, make_plan


class Spots:
    """Tissue at single slide pixels."""

    def __init__(self, *points: tuple[int, int]) -> None:
        self.points = points

    def touches(self, area: Rectangle) -> bool:
        return any(area.x <= x < area.right and area.y <= y < area.bottom for x, y in self.points)


def cores(plan: TilePlan) -> list[Rectangle]:
    return [tile.core for chunk in plan.chunks for tile in chunk.tiles]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.sampled_from([0.2, 0.25, 0.499, 1.3]),
    st.sampled_from([0.25, 0.5, 0.7, 2.0]),
    st.integers(8, 160),
    st.integers(0, 40),
    st.integers(1, 9),
)
def test_cores_cover_the_plane_exactly_once(
    columns: int, rows: int, slide_mpp: float, mpp: float, tile: int, overlap: int, chunk: int
) -> None:
    tile = max(tile, 2 * overlap + 8)
    plan = make_plan(columns, rows, (slide_mpp, slide_mpp), mpp, tile, overlap, chunk_tiles=chunk)
    covered = np.zeros((plan.rows, plan.columns), np.uint8)
    for core in cores(plan):
        covered[core.y : core.bottom, core.x : core.right] += 1
    assert (covered == 1).all()
    assert sum(core.width * core.height for core in cores(plan)) == plan.columns * plan.rows


@settings(max_examples=60, deadline=None)
@given(st.integers(100, 900), st.integers(100, 900), st.integers(0, 99), st.integers(0, 99), st.integers(1, 400))
def test_a_region_gets_all_tiles_that_touch_it_and_no_other(columns: int, rows: int, x: int, y: int, side: int) -> None:
    whole = make_plan(columns, rows, (0.25, 0.25), 0.5, 64, 8)
    region = Rectangle(x, y, side, side)
    plan = make_plan(columns, rows, (0.25, 0.25), 0.5, 64, 8, [region])
    (wanted,) = plan.regions
    assert cores(plan) == [core for core in cores(whole) if core.touches(wanted)]
    assert plan.tiles >= 1 and plan.wants(wanted.x, wanted.y) and not plan.wants(wanted.right, wanted.y)


def test_tiles_see_their_context_and_are_numbered_in_order() -> None:
    plan = make_plan(1000, 800, (0.5, 0.5), 0.5, 128, 16, chunk_tiles=4)
    tiles = [tile for chunk in plan.chunks for tile in chunk.tiles]
    assert [tile.number for tile in tiles] == list(range(plan.tiles))
    assert [chunk.number for chunk in plan.chunks] == list(range(len(plan.chunks)))
    for tile in tiles:
        assert (tile.context.width, tile.context.height) == (128, 128)
        assert (tile.context.x, tile.context.y) == (tile.core.x - 16, tile.core.y - 16)
    for chunk in plan.chunks:
        assert max(chunk.area.width, chunk.area.height) <= 4 * 96
        assert all(tile.core.overlap(chunk.area) == tile.core for tile in chunk.tiles)


def test_only_tissue_is_planned() -> None:
    plan = make_plan(1000, 1000, (0.5, 0.5), 1.0, 100, 0, tissue=Spots((0, 0), (999, 999), (399, 400)), chunk_tiles=2)
    assert cores(plan) == [
        Rectangle(0, 0, 100, 100),
        Rectangle(100, 200, 100, 100),
        Rectangle(400, 400, 100, 100),
    ]
    assert make_plan(1000, 1000, (0.5, 0.5), 1.0, 100, 0, tissue=Spots()).chunks == ()


def test_the_digest_tells_plans_apart_and_is_the_same_for_the_same() -> None:
    def digest(mpp: float = 0.5, **options: object) -> str:
        return make_plan(900, 700, (0.25, 0.25), mpp, 64, 8, **options).digest()  # type: ignore[arg-type]

    different = {
        digest(),
        digest(0.6),
        digest(chunk_tiles=3),
        digest(regions=[Rectangle(0, 0, 100, 100)]),
        digest(regions=[Rectangle(0, 0, 101, 105)]),
        digest(tissue=Spots((5, 5))),
    }
    assert len(different) == 6
    assert digest(tissue=Spots((5, 5))) == digest(tissue=Spots((5, 5)))


def test_spacing_that_differs_by_less_than_scanners_do_is_taken_as_it_is() -> None:
    assert make_grid(2220, 2967, (0.499, 0.499), 0.5).scale == (1.0, 1.0)
    assert make_grid(2220, 2967, (0.2499, 0.2501), 1.0).step == (4, 4)
    assert make_grid(100, 100, (1.3, 1.3), 0.25).scale == (5.25, 5.25)


@settings(deadline=None)
@given(st.floats(0.05, 20), st.floats(0.05, 100))
def test_the_scale_is_within_a_percent_of_what_was_asked(slide_mpp: float, mpp: float) -> None:
    grid = make_grid(10000, 10000, (slide_mpp, slide_mpp), mpp)
    assert grid.scale[0] * mpp / slide_mpp == pytest.approx(1, rel=0.0102)
    assert min(grid.step[0].denominator, grid.step[0].numerator) <= 51


@settings(deadline=None)
@given(st.integers(-50, 5000), st.integers(1, 900), st.sampled_from([0.25, 0.2273, 1.3]))
def test_a_rectangle_that_goes_to_the_plane_and_back_holds_itself(x: int, width: int, slide_mpp: float) -> None:
    grid = make_grid(5000, 5000, (slide_mpp, slide_mpp), 0.5)
    area = Rectangle(x, x, width, width)
    back = grid.to_slide(grid.to_plane(area))
    assert back.overlap(area) == area
    assert back.width <= width + 2 * float(grid.step[0]) + 2


def test_what_makes_no_plan_is_refused_with_its_reason() -> None:
    with pytest.raises(UnfitSlide, match="give mpp"):
        make_plan(100, 100, (0.0, 0.0), 0.5, 64, 8)
    with pytest.raises(UnfitSlide, match="cannot be right"):
        make_plan(100, 100, (1e-310, 0.5), 0.5, 64, 8)
    with pytest.raises(InvalidModel, match="above 0"):
        make_plan(100, 100, (0.5, 0.5), 1e300, 64, 8)
    with pytest.raises(InvalidModel, match="leaves nothing"):
        make_plan(100, 100, (0.5, 0.5), 0.5, 64, 32)
    with pytest.raises(UnfitSlide, match="more than"):
        make_plan(200_000, 200_000, (0.25, 0.25), 0.25, 32, 0)
    for region in (Rectangle(100, 0, 5, 5), Rectangle(0, 0, 0, 5), Rectangle(-9, -9, 9, 9)):
        with pytest.raises(BadRequest, match="outside"):
            make_plan(100, 100, (0.5, 0.5), 0.5, 64, 8, [region])
