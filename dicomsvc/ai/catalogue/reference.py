"""What a manifest may name for each kind of output: tensors and settings; and statistics and preprocessing steps."""

from typing import Any

from dicomsvc.ai.catalogue.manifest import OutputKind
from dicomsvc.ai.catalogue.manifest_file import OBJECTS
from dicomsvc.ai.clicks.guides import GUIDES
from dicomsvc.ai.decoding.settings import ROLES, SETTINGS
from dicomsvc.ai.statistics import STATISTICS
from dicomsvc.wsi.stain import STEPS


def reference_document() -> dict[str, Any]:
    """Return all names with their meanings, defaults and ranges as JSON."""
    return {
        "kinds": {str(kind): _kind(kind) for kind in OutputKind},
        "statistics": {name: statistic.help for name, statistic in STATISTICS.items()},
        "steps": {name: dict(step.settings) for name, step in STEPS.items()},
        "guides": dict(GUIDES),
    }


def _kind(kind: OutputKind) -> dict[str, Any]:
    return {
        "objects": list(OBJECTS[kind]),
        "tensors": {
            name: {"required": role.required, "channels": role.channels or "one a class", "meaning": role.help}
            for name, role in ROLES[kind].items()
        },
        "settings": {
            name: {
                "default": setting.default,
                "least": setting.least,
                "most": setting.most,
                "meaning": setting.help,
            }
            for name, setting in SETTINGS[kind].items()
        },
    }


def describe_reference() -> str:
    """Return the same for people."""
    document = reference_document()
    lines: list[str] = []
    for kind, parts in document["kinds"].items():
        lines.append(f"{kind}: becomes {', '.join(parts['objects'])}")
        for name, role in parts["tensors"].items():
            need = "" if role["required"] else ", optional"
            lines.append(f"  tensors.{name}  {role['meaning']} Channels: {role['channels']}{need}.")
        for name, setting in parts["settings"].items():
            span = f"{setting['least']:g} to {setting['most']:g}, {setting['default']:g} unless given"
            lines.append(f"  settings.{name}  {setting['meaning']} ({span})")
    lines += ["statistics:", *(f"  {name}  {meaning}" for name, meaning in document["statistics"].items())]
    lines += ["guides:", *(f"  {name}  {meaning}" for name, meaning in document["guides"].items())]
    lines.append("steps:")
    for name, settings in document["steps"].items():
        lines.append(f"  {name}  with {', '.join(settings) or 'no settings'}")
    return "\n".join(lines)
