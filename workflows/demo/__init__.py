"""The demo: real recorded speech as podcasts, from their feeds to shards, and how good the labels are."""

from __future__ import annotations

import json
import time
from pathlib import Path

from manifests.corpus import Corpus
from manifests.funnel import FUNNEL_COLUMNS, funnel
from manifests.release import read_release, release_folder
from manifests.render import Format, render
from pipeline.contract import SilverError
from pipeline.executors import LazyExecutor
from pipeline.progress import Progress, duration
from pipeline.recipe import load
from pipeline.run import run
from stages import STAGES, find
from stages.gold import read_gold
from stages.models import fetch
from workflows.demo.episodes import make_episodes
from workflows.demo.feed import serve, write_feeds
from workflows.evaluate.figure import page
from workflows.evaluate.table import COLUMNS, judge, table
from workflows.release import HOURS_COLUMNS, read_back, summary
from workflows.report.main import report

VERSION = "v1"
RECIPE = str(Path(__file__).parent.parent.parent / "configs" / "demo.yaml")


def main(folder: str, minutes: float) -> None:
    """Make the podcasts (once), build the corpus `<folder>/corpus` from their feeds, and print what came of it."""
    began = time.monotonic()
    home = Path(folder).absolute()
    site, truth, record = home / "site", home / "truth.jsonl", home / "site.json"
    fetch("base")
    feeds, port = json.loads(record.read_text()) if record.exists() else ([], 0)
    try:
        with serve(site, port) as address:
            if not feeds:
                print(f"making podcasts of real recorded speech in {site}", flush=True)
                feeds = write_feeds(site, make_episodes(site, truth, minutes), address)
            # The same port the next time: an episode is known by its address.
            record.write_text(json.dumps([feeds, int(address.rpartition(":")[2])]))
            made = _build(home / "corpus", [f"{address}/{feed}" for feed in feeds])
    except OSError as error:
        if port and error.errno == 98:
            raise SilverError(f"port {port}, at which {site} was first served, is taken; free it, or remove {home}") from error
        raise
    corpus = Corpus(str(home / "corpus"))
    if not made:
        print(f"nothing to do: every part of {home / 'corpus'} is up to date ({duration(time.monotonic() - began)})\n")
    _report(corpus, truth)
    release = corpus.store.uri(release_folder(VERSION))
    print(f"\nThe release: {release}")
    _released(corpus)
    print(f"look around: silver rows {corpus.store.root}, silver trace {corpus.store.root} ID, silver verify {release}")
    print(f"look and listen: {report(corpus, None, 50, str(truth), fold_accents=True)}")
    print(f"done in {duration(time.monotonic() - began)}")


def _build(root: Path, feeds: list[str]) -> dict[str, int]:
    recipe = load(RECIPE, [f"root={root}", f"acquire.feeds={json.dumps(feeds)}", f"pack.version={VERSION}"], find, STAGES)
    executor = LazyExecutor()
    try:
        with Progress() as progress:
            return run(recipe, executor, progress).made
    finally:
        executor.ray.close()


def _report(corpus: Corpus, truth: Path) -> None:
    print("\nThe funnel")
    render(funnel(corpus), Format.TABLE, [name for name, _ in FUNNEL_COLUMNS])
    judged = judge(corpus, read_gold(str(truth)), fold_accents=True)
    print("\nError of the labels against the known transcripts (real recorded prompts, one studio speaker a language; accents not counted)")
    render(table(judged), Format.TABLE, [name for name in COLUMNS if name not in ("words", "won")])
    figure = truth.with_name("evaluation.html")
    figure.write_text(page(judged, "The demo's labels against what was said"), encoding="utf-8")
    print(f"how well the confidence knew it: {figure}")
    live = [item.row for item in judged if item.kept]
    dropped = [item.row for item in judged if not item.kept]
    columns = ["segment_id", "language", "start", "end", "confidence", "text_pnc"]
    print("\nSome that were kept")
    render(live[:: max(1, len(live) // 5)][:5], Format.TABLE, columns)
    if live:
        print("\nThe words of the first: times in the recording, score, what was looked for and what the aligner's own network heard there")
        words = corpus.query("SELECT words FROM segments WHERE segment_id = ?", [live[0]["segment_id"]])[0]["words"]
        render(words, Format.TABLE, ["word", "start", "end", "score", "spelled", "heard"])
    print("\nSome that were dropped")
    render(dropped[:: max(1, len(dropped) // 6)][:6], Format.TABLE, [*columns, "drop_reason", "drop_detail"])


def _released(corpus: Corpus) -> None:
    """What is in the release, read back from its files."""
    made = read_release(corpus.store, VERSION)
    found = read_back(corpus.store, release_folder(VERSION))
    render(list(summary(made)), Format.TABLE, list(HOURS_COLUMNS))
    if found:
        raise SilverError(f"the release does not read back as it was written: {found[0]}")
    print(f"read back: {made['counts']['samples']} samples in {len(made['shards'])} shards, nothing wrong")
