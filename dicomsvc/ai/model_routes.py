"""``/api/models``: the catalogue for pages and scripts."""

from typing import Any

from fastapi import APIRouter, Body
from fastapi import Path as PathParameter

from dicomsvc.ai.catalogue.card import model_document
from dicomsvc.ai.catalogue.hot import apply_change
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.store import Store

Name = PathParameter(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Name of the model")


def model_routes(store: Store) -> APIRouter:
    """Return the routes for the catalogue of ``store``'s service."""
    router = APIRouter(prefix="/api/models", tags=["models"])
    settings = store.settings
    catalogue = Catalogue(settings)

    @router.get("", summary="All models with their versions")
    def list_models() -> list[dict[str, Any]]:
        return [model_document(model) for model in catalogue.models()]

    @router.get("/{name}", summary="One model: intended use, limits, classes, accuracy, by version")
    def show_model(name: str = Name) -> dict[str, Any]:
        return model_document(catalogue.get(name))

    @router.post("/{name}/enable", summary="Let a model be called, and choose the version taken when none is named")
    def enable_model(
        name: str = Name, number: int | None = Body(None, embed=True, ge=1, description="Version")
    ) -> dict[str, Any]:
        document = model_document(catalogue.set_enabled(name, True, number))
        return {**document, "effect": apply_change(settings, catalogue, name)}

    @router.post("/{name}/disable", summary="Let a model no longer be called")
    def disable_model(name: str = Name) -> dict[str, Any]:
        document = model_document(catalogue.set_enabled(name, False))
        return {**document, "effect": apply_change(settings, catalogue, name)}

    return router
