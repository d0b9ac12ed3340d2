"""Turns tensors into findings, one decoder for each kind of output, and joins them over tile borders.

In come the output tensors of one tile and the pixels it was made from; out go `TileFindings`, by a `Stitcher`
`ChunkFindings` (which can be saved), and by `join_instances` the things of the whole slide, each of them once. All
places are slide pixels for `dicomsvc.ai.findings.Instances`, and cells of the plane for rasters.
"""

from dicomsvc.ai.decoding.chunks import ChunkFindings, Raster, Seam
from dicomsvc.ai.decoding.decoder import decoder
from dicomsvc.ai.decoding.settings import ROLES, SETTINGS, Role, Setting, check_settings
from dicomsvc.ai.decoding.stitching import Stitcher, join_instances
from dicomsvc.ai.decoding.tiles import Decoder, TileFindings

__all__ = [
    "ROLES",
    "SETTINGS",
    "ChunkFindings",
    "Decoder",
    "Raster",
    "Role",
    "Seam",
    "Setting",
    "Stitcher",
    "TileFindings",
    "check_settings",
    "decoder",
    "join_instances",
]
