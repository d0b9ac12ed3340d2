"""Who or what made a result object, by what, with which parameters; and what the object is called."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydicom.sr.coding import Code


@dataclass(frozen=True, slots=True)
class Equipment:
    """Enhanced General Equipment Module (PS3.3 C.7.5.2)."""

    manufacturer: str
    manufacturer_model_name: str
    device_serial_number: str
    software_versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """Algorithm Identification Macro (PS3.3 10.16).

    ``weights_sha256`` is the hex digest of the model file, empty for a rule; ``parameters`` are all settings that the
    result depends on.
    """

    name: str
    version: str
    family: Code
    weights_sha256: str
    source: str = "dicomsvc"
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameter_text(self) -> str:
        """Algorithm Parameters (0066,0032): ``key=value`` pairs, the weights' digest among them."""
        weights = {"weights_sha256": self.weights_sha256} if self.weights_sha256 else {}
        pairs = {**self.parameters, **weights}
        return "; ".join(f"{key}={value}" for key, value in sorted(pairs.items()))


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of the same study that a result was made of."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """``created`` has a time zone. ``work_item_uid`` is the Unified Procedure Step that asked for the result.

    ``statement`` stands where a model's result says that nobody has verified it: for results that are not a model's.
    ``sources`` are the objects that such a result was made of.
    """

    algorithm: Algorithm
    equipment: Equipment
    created: datetime
    work_item_uid: str
    requested_by: str = ""
    statement: str = ""
    sources: tuple[StoredObject, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """What one result object is called."""

    series_instance_uid: str
    series_number: int
    series_description: str
    sop_instance_uid: str
    instance_number: int = 1
    content_label: str = "AI_RESULT"
    content_description: str = ""


@dataclass(frozen=True, slots=True)
class FindingClass:
    """A class of things found: a segment, an annotation group, a row of a report.

    ``category`` and ``type`` are the Segmented Property Category and Type (PS3.16 CID 7150, 7151 and others);
    ``colour`` is sRGB.
    """

    label: str
    category: Code
    type: Code
    colour: tuple[int, int, int]
