"""Reading a release back: `silver verify` in its three depths against `sha256sum` over the same files, cached.

.venv/bin/python -m benchmarks.verify [--gigabytes 1]
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.packing import corpus_of
from manifests.verify import verify_release


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="silver-bench-") as name:
        corpus = corpus_of(Path(name), 1100 * options.gigabytes)
        corpus.pack(version="v")
        files = sorted(str(path) for path in Path(corpus.store.path("releases/v")).rglob("*") if path.is_file())
        size = sum(Path(path).stat().st_size for path in files)
        samples = sum(1 for _ in Path(corpus.store.path("releases/v")).rglob("*.tar"))
        print(f"{size / 1e9:.2f} GB in {samples} shards")

        def timed(name: str, run: object) -> None:
            began = time.perf_counter()
            run()  # type: ignore[operator]
            took = time.perf_counter() - began
            print(f"  {name:28} {took:7.2f} s  {size / took / 1e6:7.0f} MB/s")

        timed("sha256sum", lambda: subprocess.run(["sha256sum", *files], check=True, capture_output=True))
        timed("silver verify --fast", lambda: _clean(corpus, fast=True))
        timed("silver verify", lambda: _clean(corpus))
        timed("silver verify --decode", lambda: _clean(corpus, decode=True))


def _clean(corpus: object, **depth: bool) -> None:
    found = list(verify_release(corpus.store, "v", **depth))  # type: ignore[attr-defined]
    assert not found, found[0]


if __name__ == "__main__":
    main()
