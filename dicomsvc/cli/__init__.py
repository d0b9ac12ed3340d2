"""The command line. Exit status: 0 all went well, 1 something failed, 2 wrong usage."""

from typing import Annotated

import typer

from dicomsvc import __version__
from dicomsvc.cli import (
    agreement,
    analyze,
    audit,
    click,
    commitments,
    conformance,
    doctor,
    export,
    granularity,
    infer,
    jobs,
    models,
    report_pages,
    report_store,
    report_training,
    retrieval,
    routing,
    serve,
    settings,
    slides,
    store,
    train,
    training_data,
    worklist,
)
from dicomsvc.cli.peers import peers
from dicomsvc.cli.reports import reports
from dicomsvc.cli.triton import triton
from dicomsvc.errors import DicomsvcError

app = typer.Typer(
    name="dicomsvc",
    help="DICOM whole slide imaging service.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dicomsvc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


for _command in (
    serve.serve,
    serve.worker,
    store.migrate,
    store.reindex,
    store.verify,
    store.delete,
    slides.convert,
    slides.send,
    slides.echo,
    retrieval.query,
    retrieval.retrieve,
    analyze.analyze,
    infer.infer,
    click.click,
    train.train,
    train.evaluate,
    training_data.training_data,
    granularity.granularity,
    agreement.agreement,
    settings.config,
    conformance.conformance,
    settings.token,
    export.export,
    export.deidentify,
    export.pseudonyms,
    doctor.doctor,
):
    app.command()(_command)
app.command("import")(slides.import_paths)
app.command("propose-labels")(train.propose)
app.add_typer(jobs.jobs, name="jobs")
app.add_typer(commitments.commitments, name="commitments")
app.add_typer(audit.audit, name="audit")
app.add_typer(peers, name="peers")
app.add_typer(worklist.worklist, name="worklist")
app.add_typer(triton, name="triton")
app.add_typer(models.models, name="models")
app.add_typer(routing.forwards, name="forwards")
app.add_typer(routing.routing, name="routing")
reports.command("show")(report_pages.show_text)
reports.command("fields")(report_pages.list_fields)
reports.command("train-organs")(report_training.train_organs)
reports.command("import")(report_store.import_reports)
reports.command("list")(report_store.list_reports)
reports.command("get")(report_store.get_report)
reports.command("export")(report_store.export_reports)
app.add_typer(reports, name="reports")


def main() -> None:
    """Run the command line; an error of ours is one line on standard error and status 1."""
    try:
        app()
    except DicomsvcError as error:
        typer.echo(f"dicomsvc: {error}", err=True)
        raise SystemExit(1) from None
