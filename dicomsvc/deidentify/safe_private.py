"""Private elements that PS3.15 E.3.10 lists as safe: numbers that an image cannot be measured without."""

from typing import Final

SAFE: Final[dict[str, dict[tuple[int, int], str]]] = {
    "Philips PET Private Group": {(0x7053, 0x00): "DS", (0x7053, 0x09): "DS"},
    "Philips Imaging DD 001": {(0x2001, 0x03): "FL", (0x2001, 0x04): "CS"},
    "ELSCINT1": {(0x00E1, 0x21): "DS", (0x01E1, 0x26): "CS", (0x01F1, 0x07): "DS"},
    "SIEMENS MR HEADER": {(0x0019, 0x0C): "IS", (0x0019, 0x0D): "CS", (0x0019, 0x0E): "FD", (0x0019, 0x27): "FD"},
    "GEMS_SERS_01": {(0x0025, 0x07): "SL"},
    "GEMS_PARM_01": {(0x0043, 0x6F): "DS"},
}
"""By private creator: group and the element's last two digits, with its VR."""


def safe_vr(creator: str, tag: int) -> str | None:
    """Return the VR of an element that may stay, else None."""
    return SAFE.get(creator, {}).get((tag >> 16, tag & 0xFF))
