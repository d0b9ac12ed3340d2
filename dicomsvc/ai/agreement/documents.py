"""Reports as documents that JSON can hold."""

from math import isfinite
from typing import Any


def plain(value: Any) -> Any:
    """Return a document without tuples, and with None for NaN, which JSON has not."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
