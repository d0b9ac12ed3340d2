"""Handlers that real child processes run in the tests of the worker."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicomsvc.errors import ConversionError, OutOfResources
from dicomsvc.jobs import Progress, Work


def add(work: Work) -> Mapping[str, Any]:
    work.report(Progress(1, 2, "adding"))
    work.log("added")
    work.report(Progress(2, 2, "done"))
    return {"sum": work.inputs["a"] + work.inputs["b"], "pid": os.getpid()}


def refuse(work: Work) -> Mapping[str, Any]:
    raise ConversionError("this cannot be converted")


def stumble(work: Work) -> Mapping[str, Any]:
    raise ValueError("a secret of a patient")


def die_first(work: Work) -> Mapping[str, Any]:
    with work.store.spool() as file:
        file.write(b"left behind")
        if work.attempt <= work.inputs["deaths"]:
            os.kill(os.getpid(), signal.SIGSEGV)
    return {"attempt": work.attempt}


def lack(work: Work) -> Mapping[str, Any]:
    if work.attempt == 1:
        raise OutOfResources("the disk is full")
    return {}


def obey(work: Work) -> Mapping[str, Any]:
    Path(work.inputs["started"]).touch()
    for second in range(600):
        work.report(Progress(second, 600))
        time.sleep(0.05)
    return {}


def wait_for_file(work: Work) -> Mapping[str, Any]:
    """Finish at once when the file is there; else touch ``started`` and wait for it."""
    Path(work.inputs["started"]).touch()
    while not Path(work.inputs["file"]).exists():
        work.report(Progress(0, 1))
        time.sleep(0.05)
    return {"attempt": work.attempt}


def ignore(work: Work) -> Mapping[str, Any]:
    Path(work.inputs["started"]).touch()
    time.sleep(600)
    return {}


HANDLERS = {
    "add": add,
    "refuse": refuse,
    "stumble": stumble,
    "die_first": die_first,
    "lack": lack,
    "obey": obey,
    "ignore": ignore,
    "wait_for_file": wait_for_file,
}
