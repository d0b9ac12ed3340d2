"""Searches (QIDO-RS) over a large index, by HTTP: median and 95th percentile of each kind of key.

Makes an index of 200,000 studies and 1,000,000 instances in a database of its own, measures, and removes it.
Run ``python -m benchmarks.qido [--studies N] [--repeat N] [--orthanc N]``; with ``--orthanc`` the same keys are asked
of an Orthanc that holds N studies (sent by STOW-RS in this run) and of ours with all of them.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from sqlalchemy import Engine, text

from benchmarks.servers import own_web_server, running_orthanc, system_load
from dicomsvc.config import Settings
from dicomsvc.store.database import make_engine, migrate
from dicomsvc.store.embedded import with_database

INSTANCES_A_STUDY = 5
SURNAMES = (
    "Smith Müller Garcia Rossi Novak Jansen Silva Haddad Okafor Larsen Kowalski Petrov Yilmaz Nguyen Cohen".split()
)
GIVEN = "Anna Peter Maria John Lucia Omar Ivan Sofia Emre Linh David Ingrid Paulo Chidi Katarzyna".split()
CHINESE = "张伟 王芳 李娜 刘洋 陈静 杨帆 赵磊 黄丽 周强 吴敏".split()

STUDIES = """
INSERT INTO study (study_instance_uid, patient_id, patient_name, patient_birth_date, accession_number, study_id,
  study_date, study_time, study_description, modalities, sop_classes, attributes)
SELECT uid, pid, upper(name), born, acc, acc, day, '101112.000000', descr, ARRAY[modality],
  ARRAY['1.2.840.10008.5.1.4.1.1.77.1.6'], jsonb_build_object(
    '0020000D', jsonb_build_object('vr', 'UI', 'Value', jsonb_build_array(uid)),
    '00100020', jsonb_build_object('vr', 'LO', 'Value', jsonb_build_array(pid)),
    '00100010', jsonb_build_object('vr', 'PN', 'Value', jsonb_build_array(jsonb_build_object('Alphabetic', name))),
    '00100030', jsonb_build_object('vr', 'DA', 'Value', jsonb_build_array(born)),
    '00100040', jsonb_build_object('vr', 'CS', 'Value', jsonb_build_array('F')),
    '00080050', jsonb_build_object('vr', 'SH', 'Value', jsonb_build_array(acc)),
    '00200010', jsonb_build_object('vr', 'SH', 'Value', jsonb_build_array(acc)),
    '00080020', jsonb_build_object('vr', 'DA', 'Value', jsonb_build_array(day)),
    '00080030', jsonb_build_object('vr', 'TM', 'Value', jsonb_build_array('101112')),
    '00081030', jsonb_build_object('vr', 'LO', 'Value', jsonb_build_array(descr)))
FROM (SELECT '1.2.826.0.1.' || i AS uid, 'PID' || lpad((i * 7919 % 150000)::text, 7, '0') AS pid,
    CASE WHEN i % 10 = 0 THEN (CAST(:chinese AS text[]))[1 + i / 10 % 10]
      ELSE (CAST(:surnames AS text[]))[1 + i * 31 % 15] || i % 997 || '^'
        || (CAST(:given AS text[]))[1 + i * 17 % 15] END AS name,
    to_char(date '1930-01-01' + i * 37 % 30000, 'YYYYMMDD') AS born, 'A' || lpad(i::text, 8, '0') AS acc,
    to_char(date '2016-01-01' + i * 13 % 3650, 'YYYYMMDD') AS day, 'Surgical pathology ' || i % 400 AS descr,
    CASE WHEN i % 500 = 0 THEN 'SR' ELSE 'SM' END AS modality
  FROM generate_series(1, CAST(:studies AS int)) AS i) AS made
"""
SERIES = """
INSERT INTO series (study_key, series_instance_uid, modality, series_number, series_description, number_of_instances,
  attributes)
SELECT id, study_instance_uid || '.1', modalities[1], 1, 'H&E', :instances, jsonb_build_object(
  '0020000E', jsonb_build_object('vr', 'UI', 'Value', jsonb_build_array(study_instance_uid || '.1')),
  '00080060', jsonb_build_object('vr', 'CS', 'Value', to_jsonb(modalities)),
  '00200011', jsonb_build_object('vr', 'IS', 'Value', jsonb_build_array(1))) FROM study
"""
INSTANCES = """
INSERT INTO instance (series_key, sop_instance_uid, sop_class_uid, transfer_syntax_uid, instance_number,
  container_identifier, number_of_frames, file_key, size, sha256, source, attributes)
SELECT series.id, series_instance_uid || '.' || n, '1.2.840.10008.5.1.4.1.1.77.1.6', '1.2.840.10008.1.2.4.50', n,
  'S26-' || series.id, 100, series.id || '-' || n, 1000, '', 'benchmark', jsonb_build_object(
    '00080016', jsonb_build_object('vr', 'UI', 'Value', jsonb_build_array('1.2.840.10008.5.1.4.1.1.77.1.6')),
    '00080018', jsonb_build_object('vr', 'UI', 'Value', jsonb_build_array(series_instance_uid || '.' || n)),
    '00200013', jsonb_build_object('vr', 'IS', 'Value', jsonb_build_array(n)),
    '00280010', jsonb_build_object('vr', 'US', 'Value', jsonb_build_array(256)),
    '00280011', jsonb_build_object('vr', 'US', 'Value', jsonb_build_array(256)),
    '00400560', jsonb_build_object('vr', 'SQ', 'Value', jsonb_build_array(jsonb_build_object(
      '00400551', jsonb_build_object('vr', 'LO', 'Value', jsonb_build_array('SP-' || series.id))))))
FROM series, generate_series(1, CAST(:instances AS int)) AS n
"""


def fill(engine: Engine, studies: int) -> None:
    """Insert the rows without secondary indexes, then make these."""
    with engine.begin() as connection:
        connection.execute(text("SET maintenance_work_mem = '512MB'"))
        secondary = connection.execute(
            text(
                "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
                " AND tablename IN ('study', 'series', 'instance') AND indexdef NOT LIKE 'CREATE UNIQUE%'"
            )
        ).all()
        for name, _ in secondary:
            connection.execute(text(f'DROP INDEX "{name}"'))
        names = {"chinese": CHINESE, "surnames": SURNAMES, "given": GIVEN}
        connection.execute(text(STUDIES), {"studies": studies, **names})
        connection.execute(text(SERIES), {"instances": INSTANCES_A_STUDY})
        connection.execute(text(INSTANCES), {"instances": INSTANCES_A_STUDY})
        for _, definition in secondary:
            connection.exec_driver_sql(definition)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE study, series, instance"))


def searches(studies: int) -> dict[str, tuple[str, Iterator[str]]]:
    """Return, by name, the kind of key and an endless supply of requests with values that are there."""
    chance = random.Random(1)

    def study() -> int:
        return chance.randrange(1, studies + 1)

    def supply(template: str) -> Iterator[str]:
        while True:
            i = study()
            yield template.format(
                i=i,
                uid=f"1.2.826.0.1.{i}",
                acc=f"A{i:08d}",
                pid=f"PID{i * 7919 % 150000:07d}",
                name=f"{SURNAMES[i * 31 % 15]}{i % 997}",
                given=GIVEN[i * 17 % 15],
                chinese=chance.choice(CHINESE),
                year=chance.randrange(2016, 2025),
            )

    indexed, wildcard = "indexed", "wildcard"
    return {
        "StudyInstanceUID": (indexed, supply("/studies?StudyInstanceUID={uid}")),
        "PatientID": (indexed, supply("/studies?PatientID={pid}")),
        "AccessionNumber": (indexed, supply("/studies?AccessionNumber={acc}")),
        "PatientName, single value": (indexed, supply("/studies?PatientName={name}^{given}&limit=100")),
        "StudyDate, one month": (indexed, supply("/studies?StudyDate={year}0301-{year}0331&limit=100")),
        "ModalitiesInStudy=SM, first 100": (indexed, supply("/studies?ModalitiesInStudy=SM&limit=100")),
        "ModalitiesInStudy=SR, rare": (indexed, supply("/studies?ModalitiesInStudy=SR&limit=100")),
        "SM and a month": (
            indexed,
            supply("/studies?ModalitiesInStudy=SM&StudyDate={year}0301-{year}0331&limit=100"),
        ),
        "Slim: series of a study": (indexed, supply("/series?Modality=SM&StudyInstanceUID={uid}")),
        "series of a study": (indexed, supply("/studies/{uid}/series")),
        "instances of a study by Modality": (indexed, supply("/studies/{uid}/instances?Modality=SM")),
        "SOPInstanceUID": (indexed, supply("/instances?SOPInstanceUID={uid}.1.3")),
        "ContainerIdentifier": (indexed, supply("/instances?ContainerIdentifier=S26-{i}")),
        "SpecimenIdentifier in its sequence": (
            indexed,
            supply("/instances?SpecimenDescriptionSequence.SpecimenIdentifier=SP-{i}"),
        ),
        "PatientName=Abc12*": (wildcard, supply("/studies?PatientName={name}*&limit=100")),
        "PatientName=*given": (wildcard, supply("/studies?PatientName=*{given}&limit=100")),
        "PatientName fuzzy, two words": (
            wildcard,
            supply("/studies?PatientName={given}%20{name}&fuzzymatching=true&limit=100"),
        ),
        "PatientName fuzzy, without accent": (
            wildcard,
            supply("/studies?PatientName=muller{i}&fuzzymatching=true&limit=100"),
        ),
        "PatientName fuzzy, Chinese": (wildcard, supply("/studies?PatientName={chinese}&fuzzymatching=true&limit=100")),
        "PatientID=*123*": (wildcard, supply("/studies?PatientID=*{i}&limit=100")),
        "AccessionNumber=A00012*": (wildcard, supply("/studies?AccessionNumber={acc:.6}*&limit=100")),
        "StudyDescription=*ology 12?": (wildcard, supply("/studies?StudyDescription=*ology 12?&limit=100")),
        "ContainerIdentifier=*12345": (wildcard, supply("/instances?ContainerIdentifier=*-{i}&limit=100")),
        "nothing found": (wildcard, supply("/studies?PatientName=*qqx{i}*")),
        "page of 1,000 studies": ("page", supply("/studies?ModalitiesInStudy=SM")),
    }


BARS_MS = {"indexed": 10.0, "wildcard": 50.0, "page": None}


def measure(root: str, studies: int, repeat: int) -> None:
    missed = 0
    with httpx.Client(timeout=60) as client:
        for name, (kind, requests) in searches(studies).items():
            taken = []
            found = 0
            for _ in range(repeat):
                request = next(requests)
                started = time.perf_counter()
                answer = client.get(root + request)
                taken.append((time.perf_counter() - started) * 1000)
                assert answer.status_code == 200, (request, answer.status_code, answer.text[:300])
                found = max(found, len(answer.json()))
            median, bar = statistics.median(taken), BARS_MS[kind]
            slow = bar is not None and median > bar
            missed += slow
            p95 = statistics.quantiles(taken, n=20)[-1]
            print(
                f"{name:40} {kind:8} median {median:7.2f} ms  p95 {p95:7.2f} ms  up to {found:4} results"
                f"{f'  MISSED the bar of {bar:g} ms' if slow else ''}",
                flush=True,
            )
    print(f"n = {repeat} each; {missed} bars missed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--orthanc", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dicomsvc-qido-") as name:
        Path(name).chmod(0o755)
        settings, embedded = with_database(Settings(data=Path(name) / "data"))
        try:
            engine = make_engine(settings.database)
            migrate(engine)
            started = time.perf_counter()
            fill(engine, arguments.studies)
            print(
                f"{arguments.studies} studies, {arguments.studies * INSTANCES_A_STUDY} instances made in"
                f" {time.perf_counter() - started:.0f} s; {system_load()}",
                flush=True,
            )
            engine.dispose()
            with own_web_server(settings) as root:
                measure(root, arguments.studies, arguments.repeat)
        finally:
            if embedded is not None:
                embedded.stop()
    if arguments.orthanc:
        with running_orthanc() as orthanc:
            compare_orthanc(orthanc, arguments.orthanc)


def compare_orthanc(root: str, studies: int) -> None:
    """Measure a few searches of an Orthanc with that many studies of one instance."""
    from benchmarks.stow import small_instance, stow_body

    with httpx.Client(timeout=120) as client:
        for number in range(studies):
            headers, body = stow_body([small_instance(number)])
            client.post(f"{root}/studies", content=body, headers=headers).raise_for_status()
        for request in ("/studies?PatientID=P00000007", "/studies?PatientName=*t7*&limit=100", "/studies?limit=100"):
            taken = []
            for _ in range(10):
                started = time.perf_counter()
                client.get(root + request, headers={"Accept": "application/dicom+json"}).raise_for_status()
                taken.append((time.perf_counter() - started) * 1000)
            print(f"Orthanc with {studies} studies: {request:45} median {statistics.median(taken):7.2f} ms")


if __name__ == "__main__":
    main()
