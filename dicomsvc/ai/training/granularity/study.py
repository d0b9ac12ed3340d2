"""A study: trials one after the other, each kept in a file of its own, so that what is done is not done again."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dicomsvc.ai.training.granularity.material import Material, fit_of_marks, label_changes, read_material
from dicomsvc.ai.training.granularity.plan import Cell, Plan, resumed, write_plan
from dicomsvc.ai.training.granularity.trials import seconds_a_step, try_cell
from dicomsvc.errors import BadRequest

CELLS: Final = "cells"
MATERIAL: Final = "material.json"
_FOR_TRAINING: Final = 0.75
"""Share of the time that is planned for steps; the rest goes to drawing patches, validation and measuring."""

Tell = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Study:
    """Trials on a labelled ``folder``; what comes out is kept in ``out``. ``minutes`` bounds all of it, roughly."""

    folder: Path
    out: Path
    plan: Plan
    minutes: float | None = None
    tell: Tell = lambda done, total, what: None

    def run(self) -> Plan:
        """Do what is not done yet.

        Raises
        ------
        BadRequest
            When the folder cannot be used, or ``out`` holds a study with other settings.
        """
        self.plan.check()
        plan = resumed(self.plan, self.out)
        material = read_material(self.folder, self.plan)
        if plan is None:
            plan = self._with_steps()
            _write(self._described(material), self.out / MATERIAL)
            write_plan(plan, self.out)
        total = round(sum(plan.seconds(cell) for cell in plan.cells()))
        before = 0.0
        for cell in plan.cells():
            file = self.out / CELLS / f"{cell.name}.json"
            if not file.is_file():
                a_step = plan.seconds_a_step.get(cell.network, 1.0)

                def told(step: int, before: float = before, a_step: float = a_step, name: str = cell.name) -> None:
                    self.tell(round(before + step * a_step), total, name)

                _write(try_cell(cell, plan, material, told), file)
            before += plan.seconds(cell)
            self.tell(round(before), total, cell.name)
        return plan

    def _with_steps(self) -> Plan:
        firsts: dict[str, Cell] = {}
        for cell in self.plan.cells():
            firsts.setdefault(cell.network, cell)
        each = {network: seconds_a_step(cell, self.plan) for network, cell in firsts.items()}
        return self.plan.within(None if self.minutes is None else 60 * self.minutes * _FOR_TRAINING, each)

    def _described(self, material: Material) -> dict[str, Any]:
        parts = {"training": material.training, "validation": material.validation, "test": material.test}
        return {
            "pictures": {name: len(part) for name, part in parts.items()},
            "nuclei": {name: sum(len(each.grades) for each in part) for name, part in parts.items()},
            "graded_by": material.graded_by,
            "classes": material.classes,
            "labels": label_changes(material, self.plan),
            "fit": {str(kind): tables for kind, tables in fit_of_marks(material, self.plan.granularities).items()},
        }


def results(out: Path) -> list[dict[str, Any]]:
    """Return the kept trials of a study.

    Raises
    ------
    BadRequest
        When there are none, or one is not readable.
    """
    try:
        found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((out / CELLS).glob("*.json"))]
    except (OSError, ValueError) as error:
        raise BadRequest(f"a result in {out / CELLS} is not readable; delete it, and it is made again") from error
    if not found:
        raise BadRequest(f"{out} holds no results")
    return found


def _write(document: dict[str, Any], file: Path) -> None:
    """Write so that a stop in between leaves no half file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".part")
    beside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    beside.replace(file)
