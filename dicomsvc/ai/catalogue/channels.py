"""``[[output.channels]]``: the named pictures in grey that a model makes, such as virtual stains."""

import re
from collections.abc import Sequence

from dicomsvc.ai.catalogue.fields import Document, Fields
from dicomsvc.ai.catalogue.manifest import Manifest, OutputChannel, OutputKind
from dicomsvc.ai.catalogue.triton_config import TritonConfig

KINDS = (OutputKind.IMAGE, OutputKind.INSTANCES)
"""The kinds of output that may have channels: alone, and beside things."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,15}")
_MOST = 16


def take_channels(output: Fields, kind: OutputKind, image: str | None) -> tuple[OutputChannel, ...]:
    """Take the channels of ``[output]``; ``image`` is the tensor of one that names none.

    Raises
    ------
    InvalidModel
        Naming file, line and key.
    """
    tables = output.tables("channels", required=False)
    if tables and kind not in KINDS:
        output.fail("channels", f"are for {' and '.join(KINDS)}, not for {kind}")
    if kind is OutputKind.IMAGE and not tables and image is None:
        output.fail("tensors", "must name the tensor of the `image`, or output.channels those of theirs")
    if len(tables) > _MOST:
        output.fail("channels", f"are {len(tables)}; {_MOST} is the limit")
    channels = tuple(_channel(table, image) for table in tables)
    for key in ("name", "label"):
        if len({getattr(each, key).lower() for each in channels}) != len(channels):
            output.fail("channels", f"must have different {key}s")
    return channels


def check_channels(document: Document, manifest: Manifest, config: TritonConfig) -> None:
    """Compare the channels with the tensors of ``config.pbtxt``.

    Raises
    ------
    InvalidModel
        When a tensor is missing, is no map of the tile, or has fewer channels.
    """
    spec = manifest.output
    plane = (manifest.input.tile_size // spec.stride,) * 2
    for table, channel in zip(_tables(document, spec.channels), spec.channels, strict=True):
        found = config.outputs.get(channel.tensor)
        if found is None:
            table.fail("tensor", f"names {channel.tensor!r}, which config.pbtxt does not have as output")
        if found.shape[:-1] != plane or found.datatype not in ("UINT8", "FP32"):
            table.fail("tensor", f"names {channel.tensor!r}, which is no UINT8 or FP32 map of the tile")
        size = found.shape[-1]
        # -1 is open: the size is known only when the model answers.
        if channel.channel >= size > 0:
            table.fail("channel", f"is {channel.channel}, but {channel.tensor} has {size} channels, counted from 0")


def _tables(document: Document, channels: Sequence[OutputChannel]) -> list[Fields]:
    return Fields.top(document).table("output").tables("channels", required=bool(channels))


def _channel(table: Fields, image: str | None) -> OutputChannel:
    name = table.text("name", longest=16)
    if not _NAME.fullmatch(name):
        table.fail("name", "must be letters, digits, _ and - only")
    colour = table.numbers("colour", (255, 255, 255))
    if len(colour) != 3 or any(not part.is_integer() or not 0 <= part <= 255 for part in colour):
        table.fail("colour", "must be red, green and blue from 0 to 255")
    red, green, blue = (int(part) for part in colour)
    found = OutputChannel(
        name=name,
        label=table.text("label", name, longest=64),
        tensor=table.text("tensor", image, longest=128),
        channel=table.integer("channel", 0, least=0, most=255),
        colour=(red, green, blue),
        stands_for=table.text("stands_for", "", longest=200),
    )
    table.done()
    return found
