"""``dicomsvc reports train-organs``: the classifier of a report's organ, from reports with known organs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dicomsvc.cli.output import JsonFlag, emit


def train_organs(
    reports: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines (.gz or not) with text, organ, patient.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the weights go (.npz).")],
    label: Annotated[str, typer.Option(help="The key of the organ or of the TCGA study.")] = "organ",
    patient: Annotated[str, typer.Option(help="The key of the patient; folds are by patient.")] = "patient",
    check: Annotated[bool, typer.Option("--check/--no-check", help="Measure on held-out folds first.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Train the classifier that helps to find a report's organ, and say how it does on patients it has not seen."""
    from dicomsvc.reports.organ_model import as_bytes
    from dicomsvc.reports.organ_training import held_out, read_labelled, report_lines, train

    labelled = read_labelled(reports, label, patient)
    verdicts = held_out(labelled) if check else {}
    model = train(labelled, "1")
    data = as_bytes(model)
    out.write_bytes(data)
    lines = [*report_lines(verdicts, len(labelled)), f"{out}: {len(model.organs)} organs, {len(data)} bytes"]
    document = {
        "reports": len(labelled),
        "organs": list(model.organs),
        "bytes": len(data),
        "held_out": {name: asdict(verdict) for name, verdict in verdicts.items()},
    }
    emit(document, "\n".join(lines), as_json=as_json)
