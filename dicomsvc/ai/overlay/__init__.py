"""Pictures of a slide with what was found on it.

In go the UIDs of a slide's series and of result series; out comes a picture for people. Everything is read from the
stored objects (SEG, ANN, Parametric Map), so a picture shows what other readers of them will see.
"""

from dicomsvc.ai.overlay.picture import MAX_SIDE, overlay_picture

__all__ = ["MAX_SIDE", "overlay_picture"]
