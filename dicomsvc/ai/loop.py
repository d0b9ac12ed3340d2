"""The tile loop: reads, calls the model and decodes many tiles at once, and gives the findings chunk by chunk.

A thread takes a batch of tiles from pixels to findings. While some threads wait for the model, others read and decode,
so the model is what bounds the speed. A fixed number of batches is on the way, whatever the slide's size.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import InputSpec, Manifest
from dicomsvc.ai.decoding import ChunkFindings, Decoder, Stitcher, TileFindings
from dicomsvc.ai.inference.backend import Backend, Tensor
from dicomsvc.errors import Cancelled, ModelFailure, ServerUnavailable
from dicomsvc.wsi.plan import Chunk, Rectangle, Tile, TilePlan

Pixels = npt.NDArray[Any]
_LOOK_EVERY_SECONDS = 0.25
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_LARGEST_BATCH_PIXELS = 1 << 21


@dataclass(frozen=True, slots=True, eq=False)
class TileSource:
    """Where tiles come from.

    ``read`` returns the pixels of a rectangle of the plane, ``(rows, columns, samples)``; ``prepare`` makes the model's
    tensor of them (see `dicomsvc.ai.tensors`); both are called from several threads. ``statistics`` are the values that
    the manifest's ``input.statistics`` name.
    """

    read: Callable[[Rectangle], Pixels]
    prepare: Callable[[Pixels], Tensor]
    statistics: Sequence[float] = ()


class TileLoop:
    """Runs one model over tiles.

    Parameters
    ----------
    threads
        Batches that are read, inferred or decoded at the same time.
    tell
        Called in the caller's thread about four times a second with the number of finished tiles, and with the reason
        while the model server is waited for; may raise to stop.
    """

    def __init__(
        self,
        manifest: Manifest,
        backend: Backend,
        source: TileSource,
        decoder: Decoder,
        *,
        threads: int,
        tell: Callable[[int, str], None] = lambda done, waiting_for: None,
    ) -> None:
        self._manifest = manifest
        self._backend = backend
        self._source = source
        self._decoder = decoder
        self._threads = threads
        self._tell = tell
        self._done = 0
        self._trouble = ""
        self._stopped = threading.Event()
        self._statistics = np.array([source.statistics], np.float32)
        self._batch = batch_size(manifest.input)

    def findings(self, plan: TilePlan, chunks: Iterable[Chunk]) -> Generator[ChunkFindings]:
        """Yield the findings of the chunks, in their order.

        Raises
        ------
        ModelFailure, DamagedFile, NotFound
            When the model fails on a tile, or a tile cannot be read.
        """
        batches = ((chunk, tiles) for chunk in chunks for tiles in self._batches(chunk))
        running: deque[tuple[Chunk, Future[list[TileFindings]]]] = deque()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="tiles")
        try:
            for chunk, tiles in itertools.islice(batches, 2 * self._threads):
                running.append((chunk, pool.submit(self._look, plan, tiles)))
            while running:
                chunk = running[0][0]
                stitcher = Stitcher(plan, self._manifest, chunk)
                while running and running[0][0] is chunk:
                    for found in self._await(running.popleft()[1]):
                        stitcher.add(found)
                        self._done += 1
                    for further, tiles in itertools.islice(batches, 1):
                        running.append((further, pool.submit(self._look, plan, tiles)))
                yield stitcher.finish_chunk()
        finally:
            # A batch that the model has in hand is not waited for: whoever stops this wants to go on now.
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def patiently(self, call: Callable[[], None]) -> None:
        """Do what needs the model server, waiting for as long as it does not answer."""
        with ThreadPoolExecutor(1, thread_name_prefix="server") as pool:
            try:
                self._await(pool.submit(self._retried, call))
            except BaseException:
                self._stopped.set()
                raise

    def _await(self, future: "Future[Any]") -> Any:
        while not future.done():
            self._tell(self._done, self._trouble)
            wait([future], _LOOK_EVERY_SECONDS)
        self._tell(self._done, self._trouble)
        return future.result()

    def _look(self, plan: TilePlan, tiles: Sequence[Tile]) -> list[TileFindings]:
        images, tensors = [], []
        for tile in tiles:
            if self._stopped.is_set():
                raise Cancelled("stopped")
            images.append(self._source.read(tile.context))
            tensors.append(self._source.prepare(images[-1]))
        outputs = self._retried(lambda: self._infer(np.stack(tensors)))
        found = []
        for at, tile in enumerate(tiles):
            of_tile = {name: tensor[at] for name, tensor in outputs.items()}
            # A decoder may ask a second model.
            found.append(self._retried(partial(self._decoder.decode, of_tile, images[at], tile, plan.scale)))
        return found

    def _batches(self, chunk: Chunk) -> Iterator[Sequence[Tile]]:
        for at in range(0, len(chunk.tiles), self._batch):
            yield chunk.tiles[at : at + self._batch]

    def _infer(self, batch: Tensor) -> dict[str, Tensor]:
        spec = self._manifest.input
        inputs: dict[str, Tensor] = {spec.tensor: batch}
        if spec.statistics:
            inputs[spec.statistics_tensor] = np.repeat(self._statistics, len(batch), axis=0)
        output = self._manifest.output
        names = list(dict.fromkeys([*output.tensors.values(), *(channel.tensor for channel in output.channels)]))
        outputs = self._backend.infer(self._manifest.name, self._manifest.number, inputs, names)
        for name in names:
            if len(outputs[name]) != len(batch):
                raise ModelFailure(
                    f"{self._manifest.name}: {name} has {len(outputs[name])} answers for a batch of {len(batch)} tiles"
                )
        return outputs

    def _retried(self, call: Callable[[], Any]) -> Any:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = call()
            except ServerUnavailable as error:
                self._trouble = str(error)
                if self._stopped.wait(pause):
                    raise Cancelled("stopped") from error
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                self._trouble = ""
                return answer


def batch_size(spec: InputSpec) -> int:
    """Return how many tiles go to the model in one call."""
    return max(1, min(spec.max_batch, _LARGEST_BATCH_PIXELS // spec.tile_size**2))
