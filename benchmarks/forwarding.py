"""Forwarding against DCMTK's `storescu`, in one run: the same slide instance to the same `storescp +B`.

    python -m benchmarks.forwarding [--megabytes 1000] [--rounds 3]

Ours is a whole forward: what is still to go is read from the database, every byte is compared with the digest taken
when it came, and what became of the instance is written down. `storescu` reads a file and sends it. Both take turns.
Needs `storescu` and `storescp`.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from pydantic import SecretStr

from benchmarks.cstore import (
    FRAME_BYTES,
    Receiver,
    Uids,
    growth_mb,
    kilobytes,
    send,
    storescp_receiver,
    write_instance,
)
from dicomsvc.config import DatabaseSettings, Settings, StoreSettings
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.jobs import Jobs, Progress, Work
from dicomsvc.routing.admission import admit
from dicomsvc.routing.firing import fire
from dicomsvc.routing.forwarding import forward
from dicomsvc.routing.forwards import Forwards, ForwardState
from dicomsvc.routing.intake import read_position, take_in
from dicomsvc.routing.rules import read_rules
from dicomsvc.store import Source, Store
from dicomsvc.store.database import make_engine, migrate
from dicomsvc.store.embedded import start_embedded

_PIECE = 4 << 20


def settings_for(folder: Path, url: str, port: int) -> Settings:
    return Settings(
        data=folder / "data",
        database=DatabaseSettings(url=SecretStr(url)),
        store=StoreSettings(disk_reserve_mb=0),
        peers={"PEER": {"ae_title": "ANY-SCP", "host": "127.0.0.1", "port": port}},
        routing={"rules": [{"name": "bench", "send": ["PEER"], "stable_seconds": 0}]},
    )


def take(store: Store, path: Path) -> None:
    with store.spool() as spooled, path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            spooled.write(piece)
        store.add(spooled, Source("import"))


def forward_once(store: Store) -> float:
    """Carry the forward that waits out, as a worker does, and return the seconds it took."""
    rules = read_rules(store.settings)
    take_in(store.engine, rules)
    fire(store.engine, rules[0], store.settings.routing, KnownPeers(store.engine, store.settings))
    admit(store.engine, store.settings.routing)
    [record] = Forwards(store.engine).search(state="ordered")
    [item] = Jobs(store.engine).get_all([record.work_item or ""])
    work = Work(item.uid, item.kind, item.inputs, item.requested_by, 1, store, _ignore, print)
    os.sync()
    before = kilobytes(os.getpid(), "VmHWM")
    started = time.perf_counter()
    forward(work)
    seconds = time.perf_counter() - started
    print(f"    the peak of our memory rose by {growth_mb(os.getpid(), before):.0f} MB")
    if Forwards(store.engine).get(record.id).state is not ForwardState.DONE:
        raise SystemExit(Forwards(store.engine).get(record.id).describe())
    return seconds


def _ignore(progress: Progress) -> None:
    pass


def empty(receiver: Receiver, folder: Path) -> None:
    """Remove what the peer has written, so that both find the same disk."""
    for path in (folder / "storescp").iterdir():
        path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    theirs: list[float] = []
    ours: list[float] = []
    with tempfile.TemporaryDirectory(prefix="dicomsvc-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "data").mkdir(mode=0o755)
        embedded = start_embedded(folder / "data")
        path, uids = folder / "big.dcm", Uids()
        write_instance(path, arguments.megabytes * 1_000_000 // (FRAME_BYTES + 8), uids.new())
        size_mb = path.stat().st_size / 1e6
        with storescp_receiver(folder) as peer:
            settings = settings_for(folder, embedded.url, peer.port)
            engine = make_engine(settings.database)
            migrate(engine)
            engine.dispose()
            with Store(settings) as store:
                read_position(store.engine)
                for _ in range(arguments.rounds):
                    uids.renew(path)
                    theirs.append(send(peer, [path], "-xy"))
                    empty(peer, folder)
                    take(store, path)
                    ours.append(forward_once(store))
                    empty(peer, folder)
                    for record in Forwards(store.engine).search():
                        store.delete("bench", record.study_instance_uid)
                        break
        embedded.stop()
    rates = {word: size_mb / statistics.median(taken) for word, taken in (("dicomsvc", ours), ("storescu", theirs))}
    print(f"forwarding of {size_mb:.0f} MB, MB/s (median of {arguments.rounds}); load {os.getloadavg()[0]:.1f}")
    for word, rate in rates.items():
        print(f"    {word:12} {rate:8.1f}")
    print(f"    ratio        {rates['dicomsvc'] / rates['storescu']:8.2f}")


if __name__ == "__main__":
    main()
