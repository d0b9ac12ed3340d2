"""A disk that fails at random: what cannot be made durable is not acknowledged (libfiu makes ``fsync`` fail)."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import RunningService, require_program
from tests.faults.node import (
    FIGURES,
    OUT_OF_RESOURCES,
    Load,
    assert_kept,
    assert_sound,
    c_store,
    eventually,
    role_process,
    rounds,
    running,
    spooled,
    stow,
)
from tests.instances import part10, write_instances, wsi_dataset

EIO = 5
INSTANCES = 40
FAILURES = {"fsync": "posix/io/sync/fsync", "rename": "posix/io/dir/rename"}


def control(service: RunningService, base: Path, command: str) -> None:
    pids = [str(role_process(service, role).pid) for role in ("web", "dimse")]
    program = require_program("fiu-ctrl")
    done = subprocess.run(
        [program, "-f", str(base), "-c", command, *pids], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and not done.stdout and not done.stderr, done.stdout + done.stderr


@pytest.mark.peer
def test_what_a_failing_disk_did_not_keep_is_not_acknowledged(database_url: str, tmp_path: Path) -> None:
    # The database is another one's: here the store's own fsync fails, not PostgreSQL's.
    control_base = tmp_path / "fiu"
    before = (require_program("fiu-run"), "-x", "-f", str(control_base))
    # libfiu and the threads that OpenBLAS starts while it is loaded wait for each other.
    environment = {"DICOMSVC_DATABASE__URL": database_url, "OPENBLAS_NUM_THREADS": "1"}
    with running(before=before, environment=environment) as service:
        everything: dict[str, bytes] = {}
        for name, point in FAILURES.items():
            instances = write_instances(tmp_path / name, INSTANCES * rounds())
            control(service, control_base, f"enable_random name={point},probability=0.3,failinfo={EIO}")
            try:
                refusals = [c_store(service, content) for content in list(instances.values())[:20]]
                with Load(service, instances) as load:
                    assert eventually(load.is_done, 120 * rounds()), "the load does not go on"
            finally:
                control(service, control_base, f"disable name={point}")
            assert set(refusals) == {0, OUT_OF_RESOURCES}, f"nothing failed: {refusals}"
            assert load.statuses == {0, OUT_OF_RESOURCES}, load.statuses
            everything |= load.acknowledged
            FIGURES.append(
                f"{name} failing in 30 %: {refusals.count(OUT_OF_RESOURCES)} of {len(refusals)} refused with 0xA700, "
                f"{len(load.acknowledged)} acknowledged"
            )
        assert c_store(service, part10(wsi_dataset())) == 0
        assert stow(service, part10(wsi_dataset())).status_code == 200
        assert_kept(service, everything)
        assert eventually(lambda: not spooled(service)), "the spool is not empty"
        assert_sound(service, **environment)
