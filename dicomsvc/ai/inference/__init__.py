"""Calls a model: over gRPC on Triton, or in this process where somebody chose so (never silently)."""

from pathlib import Path

from dicomsvc.ai.inference.backend import Backend, Tensor
from dicomsvc.ai.inference.in_process import InProcessBackend
from dicomsvc.ai.inference.triton import TritonBackend
from dicomsvc.config import Settings

__all__ = ["Backend", "InProcessBackend", "Tensor", "TritonBackend", "open_backend", "staged_repository"]


def staged_repository(data: Path) -> Path:
    """Return the folder that holds the enabled models as Triton wants them."""
    return data.absolute() / "triton" / "repository"


def open_backend(settings: Settings, repository: Path | None = None) -> Backend:
    """Return what runs models under these settings.

    ``repository`` is where models run in process are read from; unset: where they are staged for Triton.

    Raises
    ------
    ConfigurationError
        When models are to run in process and ONNX Runtime is not installed.
    """
    if settings.triton.in_process:
        return InProcessBackend(repository or staged_repository(settings.data))
    return TritonBackend(settings)
