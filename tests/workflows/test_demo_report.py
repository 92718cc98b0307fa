"""What the demo prints of a finished corpus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manifests.corpus import Corpus
from workflows.demo import _report


def test_the_demo_shows_funnel_error_words_and_reasons(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = Corpus(str(built))
    kept = corpus.connection.execute('SELECT source_uri, start, "end", text FROM segments WHERE drop_reason IS NULL').fetchall()
    truth = tmp_path / "truth.jsonl"
    lines = [{"episode": Path(uri).name, "start": start, "end": end, "text": text, "language": "en"} for uri, start, end, text in kept]
    truth.write_text("\n".join(map(json.dumps, lines)))
    _report(corpus, truth)
    told = capsys.readouterr().out
    assert "Error of the labels against the known transcripts" in told
    assert kept[0][3].split()[0].lower() in told.partition("The words of the first")[2].lower(), "KeyError: words"
    assert (tmp_path / "evaluation.html").read_text().startswith("<!doctype html>")
