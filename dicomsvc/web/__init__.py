"""HTTP: everything below one ASGI application.

`Gate` stands in front: cross-origin rules, authentication, the bare path of frames, errors to statuses, counters.
Behind it FastAPI serves DICOMweb under ``/dicomweb``, our API under ``/api`` (documented at ``/docs``), and health.
"""

from dicomsvc.web.app import build_app
from dicomsvc.web.server import serve_http

__all__ = ["build_app", "serve_http"]
