"""The trained part of organ finding: a linear classifier over hashed words, ``models/organs.npz``.

A report's words are hashed to `BUCKETS` places; weights are 8 bit, one row a place, one column an organ. They hold no
word. ``dicomsvc reports train-organs`` makes the file; `dicomsvc.reports.organs` says how it and the rules decide.
"""

import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from io import BytesIO

import numpy as np
import numpy.typing as npt

from dicomsvc.errors import InvalidModel

BUCKETS = 1 << 14
FEWEST = 25
"""A text with fewer different words is too short to be judged by its words alone."""
_WORD = re.compile(r"[a-z]{3,24}")


@dataclass(frozen=True, slots=True)
class OrganModel:
    """``weights`` are (places, organs), to be multiplied by ``scale`` (organs); ``bias`` (organs)."""

    organs: tuple[str, ...]
    weights: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    version: str

    def shares(self, text: str) -> Mapping[str, float] | None:
        """Return for each organ how likely the normalised English text is about it; None where it is too short."""
        places, values = features(text)
        if len(places) < FEWEST:
            return None
        scores = (values @ self.weights[places].astype(np.float32)) * self.scale + self.bias
        likely = np.exp(scores - scores.max())
        return dict(zip(self.organs, (likely / likely.sum()).tolist(), strict=True))


def features(text: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Return the places of a normalised text's words and their values: damped counts, of length 1 together."""
    counts = Counter(map(_place, _WORD.findall(text)))
    places = np.fromiter(counts.keys(), dtype=np.intp, count=len(counts))
    values = 1 + np.log(np.fromiter(counts.values(), dtype=np.float32, count=len(counts)))
    return places, (values / max(float(np.linalg.norm(values)), 1e-9)).astype(np.float32)


@lru_cache(maxsize=50_000)
def _place(word: str) -> int:
    return zlib.crc32(word.encode()) % BUCKETS


@cache
def organ_model() -> OrganModel:
    """Return the model that comes with the package.

    Raises
    ------
    InvalidModel
        The file is missing or is not what ``train-organs`` writes.
    """
    try:
        return read_model((files("dicomsvc.reports") / "models" / "organs.npz").read_bytes())
    except (OSError, ValueError, KeyError) as error:
        raise InvalidModel(f"models/organs.npz cannot be read: {error}") from error


def read_model(data: bytes) -> OrganModel:
    """Read what `as_bytes` wrote."""
    with np.load(BytesIO(data), allow_pickle=False) as document:
        about = json.loads(str(document["about"]))
        return OrganModel(
            tuple(about["organs"]), document["weights"], document["scale"], document["bias"], str(about["version"])
        )


def as_bytes(model: OrganModel) -> bytes:
    """Return the model as a compressed NumPy archive."""
    file = BytesIO()
    about = json.dumps({"organs": model.organs, "version": model.version})
    np.savez_compressed(file, weights=model.weights, scale=model.scale, bias=model.bias, about=np.array(about))
    return file.getvalue()
