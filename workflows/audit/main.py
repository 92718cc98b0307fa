"""`silver audit`: draw a sample and write its sheet and page; read the sheet back and state the error."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from manifests.audits import AUDITS
from manifests.corpus import Corpus
from pipeline.contract import SilverError
from pipeline.fingerprint import digest
from workflows.audit.marks import labelled, tally
from workflows.audit.page import page
from workflows.audit.sample import draw, filtered
from workflows.audit.sheet import Judgement, judgements, read_sheet, write_sheet
from workflows.audit.state import state

COLUMNS = ("of", "measure", "value", "low", "high", "judged", "segments", "hours", "covered")


def begin(corpus: Corpus, count: int, seed: int) -> tuple[str, int]:
    """Draw `count` segments; gives the folder with `sheet.csv` and `audit.html`, and how many were drawn. The same call draws the same,
    and leaves a sheet that is there as it is: somebody may have filled it in.

    Raises:
        SilverError: nothing to draw from.
    """
    manifest, rows = filtered(corpus)
    strata = draw(rows, count, seed)
    drawn = sorted((row for stratum in strata for row in stratum.drawn), key=lambda row: digest([seed, row["segment_id"]]))
    folder = f"{AUDITS}/{digest([manifest.fingerprint, [ref.digest for ref in manifest.parts()], count, seed], 12)}"
    sample = {
        "fingerprint": manifest.fingerprint,
        "stage": manifest.stage,
        "seed": seed,
        "strata": [
            {
                "name": stratum.name,
                "kept": stratum.kept,
                "size": stratum.size,
                "hours": round(stratum.hours, 4),
                "segments": [
                    {"id": row["segment_id"], "language": row["language"], "text": row["text"], "duration": row["duration"]}
                    for row in stratum.drawn
                ],
            }
            for stratum in strata
        ],
    }
    store = corpus.store
    store.write(f"{folder}/sample.json", json.dumps(sample, indent=1, ensure_ascii=False).encode())
    store.create(f"{folder}/sheet.csv", write_sheet(drawn).encode())
    store.write(f"{folder}/audit.html", page(drawn, store).encode())
    return store.uri(folder), len(drawn)


def end(corpus: Corpus, sheet: str) -> tuple[list[dict[str, Any]], bool]:
    """Read a sheet back, write `result.json` beside its sample, and give the statement, one row a group (`COLUMNS`), and True; or, of segments
    that no sample drew (marks of a listening desk), a tally of themselves, and False.

    Raises:
        SilverError: the sheet is of no audit of this corpus, is damaged, or nothing in it is judged.
    """
    store = corpus.store
    samples = {name: json.loads(store.read(path)) for name in store.names(AUDITS) if store.exists(path := f"{AUDITS}/{name}/sample.json")}
    lines = read_sheet(sheet)
    labels = {
        name: {segment["id"]: segment["text"] for stratum in sample["strata"] for segment in stratum["segments"]}
        for name, sample in samples.items()
    }
    ids = {line.segment_id for line in lines}
    if not any(ids <= drawn.keys() for drawn in labels.values()) and (rows := labelled(corpus, ids)).keys() == ids:
        return tally(rows, _judged(sheet, judgements(lines, {key: row["text"] for key, row in rows.items()}))), False
    if not samples:
        raise SilverError(f"{store.root} has no audit yet: draw a sample with `silver audit {store.root} --sample 300`")
    name = max(sorted(labels), key=lambda name: len(ids & labels[name].keys()) / len(ids | labels[name].keys()))
    judged = _judged(sheet, judgements(lines, labels[name]))
    statement = state(samples[name], judged)
    result = {
        "fingerprint": samples[name]["fingerprint"],
        "read": datetime.now(UTC).isoformat(timespec="seconds"),
        "judged": len(judged),
        "drawn": len(labels[name]),
        "statement": statement,
    }
    store.write(f"{AUDITS}/{name}/result.json", json.dumps(result, indent=1, ensure_ascii=False).encode())
    return statement, True


def _judged(sheet: str, found: list[Judgement]) -> list[Judgement]:
    if not found:
        raise SilverError(f"nothing in {sheet} is judged yet: fill in `corrected` or `verdict`")
    return found
