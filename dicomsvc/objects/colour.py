"""sRGB: as CIELab, the way DICOM recommends display colours (PS3.3 C.10.7.1.1), and as an ICC profile."""

from functools import cache
from typing import Final

import numpy as np
from PIL import ImageCms

# IEC 61966-2-1 primaries with the D65 white point, adapted to D50 (Bradford), which is the white of PCS values.
_TO_XYZ_D50: Final = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_WHITE: Final = _TO_XYZ_D50.sum(axis=1)
_KNEE: Final = 6 / 29


def cielab_value(colour: tuple[int, int, int]) -> list[int]:
    """Return Recommended Display CIELab Value of an sRGB colour: three 16 bit integers."""
    encoded = np.clip(np.array(colour, np.float64), 0, 255) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = _TO_XYZ_D50 @ linear / _WHITE
    x, y, z = np.where(ratio > _KNEE**3, np.cbrt(ratio), ratio / (3 * _KNEE**2) + 4 / 29)
    lightness, a, b = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    values = (lightness * 65535 / 100, (a + 128) * 65535 / 255, (b + 128) * 65535 / 255)
    return [int(min(max(round(value), 0), 65535)) for value in values]


def srgb_colour(value: list[int]) -> tuple[int, int, int]:
    """Return the sRGB colour nearest to a Recommended Display CIELab Value."""
    lightness, a, b = value[0] * 100 / 65535, value[1] * 255 / 65535 - 128, value[2] * 255 / 65535 - 128
    y = (lightness + 16) / 116
    roots = np.array([y + a / 500, y, y - b / 200])
    ratio = np.where(roots > _KNEE, roots**3, 3 * _KNEE**2 * (roots - 4 / 29))
    linear = np.clip(np.linalg.solve(_TO_XYZ_D50, ratio * _WHITE), 0, 1)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (round(float(part) * 255) for part in encoded)
    return red, green, blue


@cache
def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB, of even length."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile + b"\0" * (len(profile) & 1)
