"""Handlers that real child processes run in the tests of the worker."""

import os
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicomsvc.errors import ConversionError, ModelFailure, OutOfResources
from dicomsvc.jobs import Later, Progress, Work


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


def wait_outside(work: Work) -> Mapping[str, Any]:
    """Wait for the file without being here meanwhile."""
    if not Path(work.inputs["file"]).exists():
        with Path(work.inputs["looks"]).open("a") as looks:
            looks.write(f"{work.attempt}\n")
        raise Later(0.1, "the file is not there")
    return {"attempt": work.attempt}


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


def hold(work: Work) -> Mapping[str, Any]:
    """Be in C code for a minute without letting any other thread of the process run."""
    Path(work.inputs["started"]).touch()
    re.match(r"(x+x+)+y", "x" * 30)
    return {}


def analyze(work: Work) -> Mapping[str, Any]:
    """Pretend to find something: four pieces of work and a result of one instance."""
    for done in range(1, 5):
        work.report(Progress(done, 4, "tiles"))
        time.sleep(0.6)
    if work.inputs.get("version") == "broken":
        raise ModelFailure("the model gave what it does not promise")
    made = {
        "study_instance_uid": work.inputs["study_instance_uid"],
        "series_instance_uid": "1.2.3.99",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4",
        "sop_instance_uid": "1.2.3.99.1",
    }
    return {"instances": [made], "model": work.inputs["model"], "version": "1", "weights_sha256": "ab" * 32}


HANDLERS = {
    "analyze": analyze,
    "hold": hold,
    "add": add,
    "refuse": refuse,
    "stumble": stumble,
    "die_first": die_first,
    "lack": lack,
    "wait_outside": wait_outside,
    "obey": obey,
    "ignore": ignore,
    "wait_for_file": wait_for_file,
}
