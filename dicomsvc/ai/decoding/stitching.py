"""Makes one set of findings of many tiles: each thing once, whatever tile border it lies on.

Tiles overlap, so that a thing on a border is whole in both of its tiles. It counts for the tile whose core holds its
centroid. Two tiles may see it a little differently: when both count it, the one that has it deeper in its core is kept;
when each leaves it to the other, the one that has it nearest to its core gives it.
"""

from collections.abc import Iterable

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.decoding.chunks import ChunkFindings
from dicomsvc.ai.decoding.tiles import TileFindings
from dicomsvc.ai.findings import Instances
from dicomsvc.wsi.plan import Chunk, TilePlan


class Stitcher:
    """Collects the tiles of one chunk, in any order and from any thread."""

    def __init__(self, plan: TilePlan, manifest: Manifest, chunk: Chunk) -> None:
        raise NotImplementedError

    def add(self, findings: TileFindings) -> None:
        """Take what was found in one tile of the chunk."""
        raise NotImplementedError

    def finish_chunk(self) -> ChunkFindings:
        """Return all that was found; the result does not depend on the order of the tiles."""
        raise NotImplementedError


def join_instances(chunks: Iterable[ChunkFindings]) -> Instances:
    """Return the things of all chunks of a plan, in the order of the chunks' numbers, each of them once."""
    raise NotImplementedError
