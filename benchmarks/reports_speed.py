"""Reports a second on one core, text in and JSON out, beside medspaCy on the same texts in the same run.

medspaCy (1.3.1, MIT) needs an older spaCy than dicomsvc: give the Python of an environment of its own::

    python -m benchmarks.reports_speed REPORTS.jsonl.gz --peer /path/of/peer/bin/python [--peer-reports 20]

The peer runs its default pipeline (sentences, target rules, context) with target rules for eight findings, which is
less than dicomsvc reads. Seconds are those of the processor, so that other work on the machine counts little; loading
is left out on both sides. ``--slowest`` names what takes the time here.
"""

import argparse
import gzip
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FINDINGS = (
    "lymphovascular invasion",
    "perineural invasion",
    "margin",
    "carcinoma",
    "lymph nodes",
    "estrogen receptor",
    "progesterone receptor",
    "necrosis",
)


def texts(file: Path, most: int | None) -> list[str]:
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return [json.loads(line)["text"] for line in content.splitlines()][:most]


def rate(read: Callable[[str], Any], reports: list[str]) -> dict[str, float]:
    """Return reports a second of processor time, and the longest report's milliseconds; the first ten warm up."""
    for text in reports[:10]:
        read(text)
    longest = 0.0
    began = time.process_time()
    for text in reports:
        start = time.process_time()
        read(text)
        longest = max(longest, time.process_time() - start)
    return {"rate": len(reports) / (time.process_time() - began), "longest_ms": longest * 1e3}


def ours() -> Callable[[str], Any]:
    from dicomsvc.reports.document import as_document
    from dicomsvc.reports.pipeline import structure

    return lambda text: json.dumps(as_document(structure(text)), ensure_ascii=False)


def medspacys() -> Callable[[str], Any]:
    from importlib import import_module

    import_module("loguru").logger.remove()
    medspacy, rules = import_module("medspacy"), import_module("medspacy.ner")
    nlp = medspacy.load()
    nlp.get_pipe("medspacy_target_matcher").add([rules.TargetRule(name, "FINDING") for name in FINDINGS])
    return lambda text: json.dumps([[e.text, e.start_char, e.end_char, e._.is_negated] for e in nlp(text).ents])


def slowest(reports: list[str]) -> None:
    """Print the milliseconds that each kind of field and each part of the layout takes a report."""
    import cProfile
    import pstats

    profile = cProfile.Profile()
    read = ours()
    read(reports[0])
    profile.runcall(lambda: [read(text) for text in reports])
    stats: Any = pstats.Stats(profile)
    rows = [
        (cumulative / len(reports) * 1e3, f"{Path(file).stem}.{name}")
        for (file, _, name), (_, _, _, cumulative, _) in stats.stats.items()
        if "dicomsvc/reports" in Path(file).as_posix() and not name.startswith("<")
    ]
    print("milliseconds a report, callees included, under the profiler (some twice the time without):")
    for milliseconds, name in sorted(rows, reverse=True)[:30]:
        print(f"{milliseconds:8.2f}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, help="JSON Lines with text, may be gzipped.")
    parser.add_argument("--peer", help="A Python that has medspaCy.")
    parser.add_argument("--peer-reports", type=int, default=20, help="How many reports the peer is given.")
    parser.add_argument("--slowest", action="store_true", help="Tell what takes the time.")
    parser.add_argument("--as-peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_peer:
        print(json.dumps(rate(medspacys(), texts(arguments.reports, arguments.peer_reports))))
        return
    reports = texts(arguments.reports, None)
    length = sum(map(len, reports)) / len(reports)
    mine = rate(ours(), reports)
    print(f"dicomsvc  {mine['rate']:7.1f} reports/s, the longest {mine['longest_ms']:.0f} ms", end="")
    print(f" ({len(reports)} reports of {length:.0f} characters)")
    if arguments.peer:
        command = [arguments.peer, __file__, str(arguments.reports), "--as-peer"]
        command += ["--peer-reports", str(arguments.peer_reports)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        theirs = json.loads(done.stdout.splitlines()[-1])
        same = rate(ours(), reports[: arguments.peer_reports])
        print(f"medspaCy  {theirs['rate']:7.1f} reports/s, the longest {theirs['longest_ms']:.0f} ms", end="")
        print(f" (the first {arguments.peer_reports} of them; dicomsvc there {same['rate']:.1f})")
        print(f"ratio     {same['rate'] / theirs['rate']:7.1f}")
    if arguments.slowest:
        slowest(reports)


if __name__ == "__main__":
    main()
