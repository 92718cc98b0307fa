"""How long the commands that look take over many segments, against what people do without them.

    .venv/bin/python -m benchmarks.many_segments OUT --parts 3000
    .venv/bin/python -m benchmarks.look OUT

Each command is a process of its own, run twice, of which the second counts; beside it the same question to the same files in plain DuckDB and, for those
that people answer so, pandas (the columns that are asked for) and `jq` (over JSONL of one part in a hundred, times a hundred). Peak memory is the largest
resident set, which counts pages of files that were read.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from manifests.corpus import Corpus
from manifests.render import Format, render

SHARE = 100
DUCKDB = "import duckdb, sys; print(len(duckdb.sql(sys.stdin.read()).fetchall()))"
PANDAS = """
import sys, pandas, pyarrow.dataset
paths, columns, query = eval(sys.stdin.read())
table = pyarrow.dataset.dataset(paths).to_table(columns=columns).to_pandas(types_mapper=pandas.ArrowDtype)
print(len(eval(query)))
"""


def timed(command: list[str], text: str = "", times: int = 2) -> tuple[float, float]:
    """Seconds and GB of the last of some calls."""
    for _ in range(times):
        with tempfile.TemporaryFile("w+") as question:
            question.write(text)
            question.seek(0)
            began = time.monotonic()
            process = subprocess.Popen(command, stdin=question, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
        taken = time.monotonic() - began
        if status:
            raise SystemExit(f"{' '.join(command[:4])} ended with {status}")
    return taken, usage.ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root")
    parser.add_argument("--only", help="one of the commands")
    options = parser.parse_args()
    corpus = Corpus(options.root)
    kept = {manifest.stage: manifest for manifest in corpus.manifests}["filter"]
    older = next(name for name in corpus.store.names("manifests/filter") if name != kept.fingerprint)
    files = [corpus.store.uri(path) for path in kept.paths]
    listed = {"now": files, "before": [path.replace(f"/{kept.fingerprint}/", f"/{older}/") for path in files]}
    now, before = (f"read_parquet([{', '.join(map(repr, paths))}])" for paths in listed.values())
    middle = files[len(files) // 2]
    segment = corpus.query(f"SELECT segment_id FROM '{middle}' LIMIT 1 OFFSET 3000")[0]["segment_id"]
    letters = "coalesce(letters_per_second * duration, duration)"
    rate = f"sum({letters} * (1 - confidence)), sum({letters}) FILTER (confidence IS NOT NULL)"
    plain = {
        "funnel": f"SELECT drop_stage, drop_reason, count(*), sum(duration) FROM {now} GROUP BY ALL",
        "rows": f"SELECT segment_id, start, \"end\", language, text, drop_reason FROM {now} WHERE drop_reason = 'duration' ORDER BY hash(segment_id) LIMIT 20",
        "trace": f"SELECT * FROM {now} WHERE segment_id = '{segment}'",
        "what-if": f"SELECT language, drop_reason IS NULL, coalesce(agreement >= 0.85, true), count(*), sum(duration), {rate} FROM {now} "
        "WHERE drop_reason IS NULL OR drop_stage = 'filter' GROUP BY ALL",
        "hist": f"WITH edges AS (SELECT approx_quantile(confidence, 0.005) a, approx_quantile(confidence, 0.995) b FROM {now}) "
        f"SELECT floor(20 * (confidence - a) / (b - a)), drop_reason IS NULL, count(*), sum(duration) FROM {now}, edges GROUP BY ALL",
        "diff": f"SELECT a.drop_reason, b.drop_reason, a.text = b.text, count(*), sum(b.duration) FROM {before} a FULL JOIN {now} b "
        "USING (source_id, segment_id) GROUP BY ALL",
        "report": "",
    }
    silver: dict[str, list[str]] = {
        "funnel": ["funnel", options.root],
        "rows": ["rows", options.root, "--where", "drop_reason = 'duration'"],
        "trace": ["trace", options.root, segment],
        "what-if": ["what-if", options.root, "filter.rules.agreement=agreement >= 0.85"],
        "hist": ["hist", options.root, "confidence"],
        "diff": ["diff", options.root],
        "report": ["report", options.root, "--out", f"{tempfile.gettempdir()}/report.html"],
    }
    frames: dict[str, tuple[list[str], str]] = {
        "funnel": (["drop_stage", "drop_reason", "duration"], "table.groupby(['drop_stage', 'drop_reason'], dropna=False).duration.agg(['count', 'sum'])"),
        "rows": (["segment_id", "start", "end", "language", "text", "drop_reason"], "table[table.drop_reason == 'duration'].sample(20)"),
        "trace": (["segment_id", "text", "drop_stage", "drop_reason", "drop_detail"], f"table[table.segment_id == '{segment}']"),
        "what-if": (["language", "drop_reason", "agreement", "duration", "confidence"],
                    "table[(table.agreement >= 0.85) | table.agreement.isna()].groupby('language').duration.agg(['count', 'sum'])"),
        "hist": (["confidence", "drop_reason", "duration"], "pandas.cut(table.confidence, 20).value_counts()"),
    }  # fmt: skip
    filters = {
        "funnel": 'reduce inputs as $r ({}; .["\\($r.drop_stage):\\($r.drop_reason)"] += 1)',
        "rows": 'select(.drop_reason == "duration") | [.segment_id, .text]',
        "trace": f'select(.segment_id == "{segment}")',
        "what-if": "select(.agreement == null or .agreement >= 0.85) | .duration",
        "hist": "[.confidence, .drop_reason]",
    }
    table = []
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "rows.jsonl"
        some = ", ".join(map(repr, files[::SHARE]))
        timed([sys.executable, "-c", DUCKDB], f"COPY (SELECT * FROM read_parquet([{some}])) TO '{lines}' (FORMAT json)", times=1)
        for name in [options.only] if options.only else silver:
            row: dict[str, object] = {"command": name}
            row["silver_s"], row["silver_gb"] = timed([sys.executable, "-m", "workflows.cli", *silver[name]])
            if plain[name]:
                row["duckdb_s"], row["duckdb_gb"] = timed([sys.executable, "-c", DUCKDB], plain[name])
                row["ratio"] = row["duckdb_s"] / row["silver_s"]  # type: ignore[operator]
            if name in frames:
                row["pandas_s"], row["pandas_gb"] = timed([sys.executable, "-c", PANDAS], repr((files, *frames[name])))
            if name in filters and shutil.which("jq"):
                options_of = ["-n"] if name == "funnel" else []
                row["jq_s"] = SHARE * timed(["jq", "-c", *options_of, filters[name], str(lines)], times=1)[0]
            table.append({key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()})
            print(json.dumps(table[-1]), file=sys.stderr)
    columns = ["command", "silver_s", "duckdb_s", "ratio", "pandas_s", "jq_s", "silver_gb", "duckdb_gb", "pandas_gb"]
    render([dict.fromkeys(columns) | row for row in table], Format.TABLE, columns)


if __name__ == "__main__":
    main()
