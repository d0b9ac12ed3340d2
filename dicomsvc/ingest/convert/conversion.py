"""One slide on its way into the instances of one series."""

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from dicomsvc.errors import MissingPixelSpacing
from dicomsvc.ingest.convert.bitstream import BadStream
from dicomsvc.ingest.convert.build import ChainBuilder, spooled_frames
from dicomsvc.ingest.convert.codec import LOSSY_JPEG, LOSSY_JPEG2000, Encoder, FrameFormat, make_encoder
from dicomsvc.ingest.convert.common import Common, UidMaker, make_common
from dicomsvc.ingest.convert.dataset import Flavor, Identity, Loss, Picture, Placement, centred, fill
from dicomsvc.ingest.convert.levels import PlannedLevel, looks_like_finest, plan_chains
from dicomsvc.ingest.convert.metadata import Metadata
from dicomsvc.ingest.convert.optics import optical_paths, profile_without_text, srgb_profile
from dicomsvc.ingest.convert.options import ConversionOptions, ConvertedInstance, Progress, ReportProgress
from dicomsvc.ingest.convert.part10 import InstanceWriter
from dicomsvc.ingest.convert.passthrough import Passage, TileMismatch
from dicomsvc.ingest.convert.sink import OutputFile, Sink
from dicomsvc.ingest.convert.sources.base import Associated, Channel, Pixels, SlideSource, SourceLevel
from dicomsvc.ingest.convert.spool import FrameSpool

_FLAVORS: Final[dict[Associated, Flavor]] = {
    "thumbnail": "THUMBNAIL",
    "label": "LABEL",
    "overview": "OVERVIEW",
}
_log: Final = logging.getLogger(__name__)
_SLIDE_MM: Final = (75.0, 50.0, 25.0)
_PICTURE_QUALITY: Final = 92


@dataclass(frozen=True, slots=True)
class _Frames:
    """Frames of one instance before their header is written."""

    format: FrameFormat
    lengths: npt.NDArray[np.int64]
    loss: Loss
    as_stored: bool = False


class Conversion:
    """Converts one open slide.

    Raises
    ------
    MissingPixelSpacing
        When neither the slide nor the options tell its pixel spacing.
    """

    def __init__(
        self, path: Path, source: SlideSource, sink: Sink, options: ConversionOptions, progress: ReportProgress
    ) -> None:
        self._path, self._source, self._sink, self._options = path, source, sink, options
        self._progress = progress
        self._uids = UidMaker(options.seed)
        self._metadata = Metadata(options.metadata)
        self._spacing_mm = spacing_mm(source, self._metadata, options)
        self._common: Common = make_common(path, source.properties, self._metadata, options, self._uids)
        self._optics = self._optical_paths(source.channels, source.samples_per_pixel, given=True)
        self._placement = self._place()
        self._pyramid_uid = str(self._metadata.values.pyramid.uid or self._uids.make("pyramid"))
        self._chains = plan_chains(
            _sound_levels(source), options.tile_size, build=options.build_levels, uniform=options.uniform_tiles
        )
        self._names: list[Associated] = self._pictures()
        self._files: list[OutputFile] = []
        self._instances: list[ConvertedInstance] = []
        self._done = 0
        self._total = len(self._names) + sum(level.tiles for chain in self._chains for level in chain) * len(
            source.channels
        )

    def run(self) -> list[ConvertedInstance]:
        """Write all instances; on an error remove what was written."""
        try:
            for chain in self._chains:
                self._convert_chain(chain)
            for name in self._names:
                self._convert_picture(name)
        except BaseException:
            for file in self._files:
                file.discard()
            raise
        return self._instances

    def _pictures(self) -> list[Associated]:
        wanted: dict[Associated, bool] = {
            "thumbnail": self._options.include_thumbnail,
            "label": self._options.include_label and not self._options.deidentify,
            "overview": self._options.include_overview and not self._options.deidentify,
        }
        return [name for name, include in wanted.items() if include and name in self._source.associated]

    def _optical_paths(self, channels: Sequence[Channel], samples: int, *, given: bool) -> list[Dataset]:
        profile = None
        if samples == 3:
            profile = self._source.icc_profile or srgb_profile()
            profile = profile_without_text(profile) if self._options.deidentify else profile
        return optical_paths(
            channels,
            list(self._metadata.values.pyramid.optical_paths or ()) if given else (),
            fluorescence=self._source.fluorescence and given,
            magnification=self._common.magnification if given else None,
            icc_profile=profile,
        )

    def _place(self) -> Placement:
        base = self._source.levels[0]
        system = self._metadata.values.pyramid.image.image_coordinate_system
        if system is None:
            return centred(base.columns * self._spacing_mm[0], base.rows * self._spacing_mm[1])
        values = tuple(system.orientation.values)
        return Placement(system.origin.x, system.origin.y, values)

    def _report(self, stage: str, frames: int) -> None:
        self._done += frames
        self._progress(Progress(self._done, self._total, stage))

    # Levels

    def _convert_chain(self, chain: list[PlannedLevel]) -> None:
        stored = _with_source_tiles(chain[0])
        passage = self._passage(stored)
        if passage is not None:
            before = self._done
            try:
                self._write_passage(stored, passage)
            except (TileMismatch, BadStream):
                # Only seen once its tiles were read: the level is encoded anew instead.
                self._files.pop().discard()
                self._done = before
                passage = None
        self._build_chain(chain, passage)

    def _passage(self, level: PlannedLevel) -> Passage | None:
        source = level.source
        base = self._chains[0][0]
        if source is None or (self._options.uniform_tiles and _tile(level) != _tile(_with_source_tiles(base))):
            return None
        channels = []
        for channel in range(len(self._source.channels)):
            stored = source.stored(channel)
            if stored is None:
                return None
            channels.append((stored, level.tiles_across))
        try:
            return Passage(channels, self._source.background, strip_text=self._options.deidentify)
        except (TileMismatch, BadStream):
            return None

    def _write_passage(self, level: PlannedLevel, passage: Passage) -> None:
        lengths = np.concatenate(passage.lengths)
        frames = _Frames(passage.format, lengths, self._passage_loss(level, passage), as_stored=True)
        writer = self._begin(self._volume(level, frames), frames, self._optics)
        for items, count in passage.runs():
            writer.frames(items)
            self._report(_stage(level), count)
        self._end(writer)

    def _passage_loss(self, level: PlannedLevel, passage: Passage) -> Loss:
        method = passage.format.lossy_method
        total = sum(int(lengths.sum()) for lengths in passage.lengths)
        return Loss() if method is None else Loss((method,), (self._ratio(_with_source_tiles(level), total),))

    def _build_chain(self, chain: list[PlannedLevel], passage: Passage | None) -> None:
        made = chain[1:] if passage is not None else chain
        if not made:
            return
        encoder = self._encoder()
        channels = len(self._source.channels)
        spools = [FrameSpool(level.tiles * channels, self._options.scratch) for level in made]
        unmade: list[FrameSpool | None] = [None] * (len(chain) - len(made))
        builder = ChainBuilder(chain, [*unmade, *spools], encoder, self._source.background, channels)
        start = self._done

        def report(count: int) -> None:
            self._report(_stage(made[0]), start + count - self._done)

        try:
            builder.run(self._options.workers, report)
            earlier = self._source_loss(chain[0]) if passage is None else self._passage_loss(chain[0], passage)
            for level, spool in zip(made, spools, strict=True):
                self._write_spooled(level, spool, encoder, earlier)
        finally:
            for spool in spools:
                spool.close()

    def _encoder(self) -> Encoder:
        source = self._source
        return make_encoder(
            self._options.codec,
            quality=self._options.quality,
            samples=source.samples_per_pixel,
            bits=source.bits,
            subsampled=source.subsampled,
        )

    def _write_spooled(self, level: PlannedLevel, spool: FrameSpool, encoder: Encoder, earlier: Loss) -> None:
        method = encoder.format.lossy_method
        loss = earlier
        if method is not None:
            ratio = self._ratio(level, int(spool.lengths.sum()))
            loss = Loss((*earlier.methods, method), (*earlier.ratios, ratio))
        frames = _Frames(encoder.format, spool.lengths, loss)
        writer = self._begin(self._volume(level, frames), frames, self._optics)
        for data in spooled_frames(spool, encapsulated=encoder.format.encapsulated):
            writer.frames(data)
        self._end(writer)

    def _ratio(self, level: PlannedLevel, compressed: int) -> float:
        frame = level.tile_columns * level.tile_rows * self._source.samples_per_pixel * self._source.bits // 8
        return frame * level.tiles * len(self._source.channels) / max(1, compressed)

    def _source_loss(self, level: PlannedLevel) -> Loss:
        """What the scanner's own compression did to the pixels that are decoded here."""
        source = level.source
        if source is None or self._source.lossless:
            return Loss()
        stored = source.stored(0)
        if stored is not None:
            method = LOSSY_JPEG if stored.codec == "jpeg" else LOSSY_JPEG2000
            total = int(stored.counts.sum()) * len(self._source.channels)
            return Loss((method,), (self._ratio(_with_source_tiles(level), total),))
        return Loss((LOSSY_JPEG,), (max(1.0, self._ratio(self._chains[0][0], self._path.stat().st_size)),))

    def _volume(self, level: PlannedLevel, frames: _Frames) -> Picture:
        return Picture(
            flavor="VOLUME",
            resampled=level.downsample != (1.0, 1.0),
            columns=level.columns,
            rows=level.rows,
            tile_columns=level.tile_columns,
            tile_rows=level.tile_rows,
            spacing_mm=(self._spacing_mm[0] * level.downsample[0], self._spacing_mm[1] * level.downsample[1]),
            placement=self._placement,
            samples=self._source.samples_per_pixel,
            bits=self._source.bits,
            frames=len(frames.lengths),
            format=frames.format,
        )

    # Label, overview, thumbnail

    def _convert_picture(self, name: Associated) -> None:
        pixels = self._source.associated[name]()
        if pixels.dtype != np.uint8:
            pixels = (pixels >> 8).astype(np.uint8)
        encoder = make_encoder("jpeg", quality=_PICTURE_QUALITY, samples=pixels.shape[2], bits=8, subsampled=False)
        frame = encoder.encode(pixels)
        loss = Loss((LOSSY_JPEG,), (pixels.nbytes / len(frame),))
        frames = _Frames(encoder.format, np.array([len(frame)], np.int64), loss)
        optics = self._optical_paths([Channel()], pixels.shape[2], given=False)
        writer = self._begin(self._picture(name, pixels, encoder.format), frames, optics)
        padded = frame + b"\0" * (len(frame) & 1)
        writer.frames(b"\xfe\xff\x00\xe0" + len(padded).to_bytes(4, "little") + padded)
        self._end(writer)
        self._report(name, 1)

    def _picture(self, name: Associated, pixels: Pixels, form: FrameFormat) -> Picture:
        rows, columns, samples = pixels.shape
        if name == "thumbnail":
            base = self._source.levels[0]
            across = self._spacing_mm[0] * base.columns / columns
            down = self._spacing_mm[1] * base.rows / rows
            placement = self._placement
        else:
            across = down = _slide_side_mm(name, columns, rows) / max(columns, rows)
            placement = centred(columns * across, rows * down)
        return Picture(
            flavor=_FLAVORS[name],
            resampled=name == "thumbnail",
            columns=columns,
            rows=rows,
            tile_columns=columns,
            tile_rows=rows,
            spacing_mm=(across, down),
            placement=placement,
            samples=samples,
            bits=8,
            frames=1,
            format=form,
        )

    # Instances

    def _begin(self, picture: Picture, frames: _Frames, optics: Sequence[Dataset]) -> InstanceWriter:
        number = len(self._instances) + 1
        uid = str(self._uids.make(f"instance {number}"))
        pyramid = self._pyramid_uid if picture.flavor in ("VOLUME", "THUMBNAIL") else None
        ds = fill(
            self._common.dataset, Identity(uid, number, pyramid), picture, optics, frames.loss, self._common.acquired
        )
        file = self._sink.open(uid)
        self._files.append(file)
        self._pending = ConvertedInstance(
            path=file.path,
            sop_instance_uid=uid,
            series_instance_uid=self._common.series_instance_uid,
            study_instance_uid=self._common.study_instance_uid,
            image_type=picture.image_type,
            transfer_syntax_uid=str(picture.format.transfer_syntax_uid),
            columns=picture.columns,
            rows=picture.rows,
            frames=picture.frames,
            size_bytes=0,
            as_stored=frames.as_stored,
        )
        return InstanceWriter(file, ds, picture.format, frames.lengths)

    def _end(self, writer: InstanceWriter) -> None:
        self._instances.append(replace(self._pending, size_bytes=writer.finish()))


def _sound_levels(source: SlideSource) -> list[SourceLevel]:
    """Return the levels without those that do not look like the finest, and log which these are."""
    sound = [level for level in source.levels if looks_like_finest(source.levels, level)]
    for level in source.levels:
        if level not in sound:
            _log.warning(
                "a level of %d x %d pixels has other colours than the finest and is made anew",
                level.columns,
                level.rows,
            )
    return sound


def _with_source_tiles(level: PlannedLevel) -> PlannedLevel:
    """Plan a level of the source with the tiles that it has there."""
    assert level.source is not None
    return replace(level, tile_columns=level.source.tile_columns, tile_rows=level.source.tile_rows)


def _tile(level: PlannedLevel) -> tuple[int, int]:
    return level.tile_columns, level.tile_rows


def _stage(level: PlannedLevel) -> str:
    return f"level {level.columns} x {level.rows}"


def _slide_side_mm(name: Associated, columns: int, rows: int) -> float:
    """Guess how long the longer side of a label or overview is, from what such cameras see of a slide."""
    whole, without_label, label = _SLIDE_MM
    if name == "label":
        return label
    proportion = max(columns, rows) / max(1, min(columns, rows))
    return whole if proportion > (whole + without_label) / 2 / label else without_label


def spacing_mm(source: SlideSource, metadata: Metadata, options: ConversionOptions) -> tuple[float, float]:
    """Tell the finest level's pixel spacing, (column, row): options, then metadata, then what the file says.

    Raises
    ------
    MissingPixelSpacing
        When nothing tells it.
    """
    if options.mpp is not None:
        across, down = options.mpp if isinstance(options.mpp, tuple) else (options.mpp, options.mpp)
        if not (0 < across < 1e4 and 0 < down < 1e4):
            raise MissingPixelSpacing("The pixel spacing given (--mpp) must be a positive number of micrometres")
        return across / 1000, down / 1000
    given = metadata.values.pyramid.image.pixel_spacing
    if given is not None and given.width > 0 and given.height > 0:
        return given.width, given.height
    if source.spacing_um is not None:
        return source.spacing_um[0] / 1000, source.spacing_um[1] / 1000
    power = source.properties.magnification
    hint = f" (its objective is {power:g}x, which alone does not tell the spacing)" if power else ""
    raise MissingPixelSpacing(
        f"The slide does not say how large its pixels are{hint}: give micrometres per pixel with --mpp"
    )


def convert(
    path: Path, source: SlideSource, sink: Sink, options: ConversionOptions, progress: ReportProgress
) -> list[ConvertedInstance]:
    """Convert an open slide and close it."""
    with closing(source):
        return Conversion(path, source, sink, options, progress).run()
