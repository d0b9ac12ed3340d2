"""CRC-32 of concatenated pieces from the CRC-32 of each, without reading the pieces again.

Appending a piece to a message multiplies the message's CRC, a polynomial over GF(2), by x to the power of the piece's
length in bits, modulo the CRC polynomial; that factor depends on the length alone and is remembered.
"""

from functools import lru_cache

_POLYNOMIAL = 0xEDB88320  # reflected: bit 31 is x**0
_ONE = 0x80000000


def _multiply(a: int, b: int) -> int:
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product


def _powers() -> tuple[int, ...]:
    power = _ONE >> 8  # x**8: one byte
    powers = []
    for _ in range(64):
        powers.append(power)
        power = _multiply(power, power)
    return tuple(powers)


_BYTE_POWERS = _powers()  # x ** (8 * 2**n)


@lru_cache(maxsize=16384)
def _shift(length: int) -> int:
    factor = _ONE
    for power in _BYTE_POWERS:
        if not length:
            break
        if length & 1:
            factor = _multiply(factor, power)
        length >>= 1
    return factor


def crc32_combine(first: int, second: int, second_length: int) -> int:
    """Return the CRC-32 of two pieces joined, given the CRC-32 of each and the length of the second in bytes."""
    return _multiply(first, _shift(second_length)) ^ second
