"""The routes of this room, for the web application."""

from dicomsvc.ingest.job_routes import job_routes
from dicomsvc.ingest.upload_routes import upload_routes

__all__ = ["job_routes", "upload_routes"]
