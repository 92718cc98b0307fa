"""What the server answers, without the server: the page, pages of segments, and the sound of one."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from manifests.corpus import Corpus, Manifest
from manifests.funnel import funnel
from manifests.histogram import is_number
from manifests.schema import KEY, key_of
from workflows.report.clips import Sound, clip, sound
from workflows.report.collect import collect, filter_of
from workflows.report.page import page
from workflows.serve.search import PAGE, Search

SOUNDS = 128
"""Sounds that are remembered: of 90 kB at most."""
ROWS = 20_000
"""Rows that were shown and whose audio can be cut without looking for them."""
COUNTS = 256
"""Searches whose count is remembered."""


class Desk:
    """A corpus, looked at by many at once. Methods may be called from several threads; DuckDB answers one after another, on all cores."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._page: str | None = None
        self._open()

    def page(self) -> str:
        """The page, made anew if the corpus has changed since."""
        with self._lock:
            if self._stamp != _stamp(Corpus(self._root)):
                self._open()
            if self._page is None:
                self._page = page(collect(self._corpus, 0) | {"served": self._form()}, served=True)
            return self._page

    def search(self, form: Mapping[str, str]) -> dict[str, Any]:
        """`clips` of one page, as the page takes them, and whether there are `more`.

        Raises:
            ValueError: the form asks for what there is not.
        """
        with self._lock:
            search = Search.of(form, self._columns)
            found = self._find(search, search.page * PAGE, PAGE + 1)
            for row in found:
                self._remember(row)
            return {"clips": [clip(row, self._filter) for row in found[:PAGE]], "more": len(found) > PAGE, "page": search.page}

    def count(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Segments and hours that a search finds.

        Raises:
            ValueError: as `search`.
        """
        with self._lock:
            search = Search.of(form, self._columns)
            known = (search.condition, search.parameters)
            if known not in self._counts:
                query = f"SELECT count(*) AS segments, coalesce(sum(duration), 0) / 3600 AS hours FROM segments WHERE {search.condition}"  # noqa: S608
                _keep(self._counts, known, self._corpus.query(query, search.parameters)[0], COUNTS)
            return self._counts[known]

    def sound(self, key: str) -> Sound:
        """MP3 and waveform of a row, or why there are none.

        Raises:
            KeyError: there is no such row.
        """
        with self._lock:
            if key in self._sounds:
                self._sounds.move_to_end(key)
                return self._sounds[key]
            if key not in self._rows:
                for row in self._find(Search(f"{KEY} = ?", (key,)), 0, 1):
                    self._remember(row)
            row, corpus = self._rows[key], self._corpus
        made = sound(corpus, row) if _inside(corpus, row) else (None, [], "its audio lies outside the corpus")
        with self._lock:
            _keep(self._sounds, key, made, SOUNDS)
        return made

    def _open(self) -> None:
        self._corpus = Corpus(self._root)
        self._stamp = _stamp(self._corpus)
        self._columns = self._corpus.columns("segments") if self._corpus.views else {}
        self._filter: Manifest | None = filter_of(self._corpus)
        self._page = None
        self._rows: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._sounds: OrderedDict[str, Sound] = OrderedDict()
        self._counts: OrderedDict[Any, dict[str, Any]] = OrderedDict()

    def _find(self, search: Search, skip: int, most: int) -> list[dict[str, Any]]:
        """Rows in order. First their names alone: the wide columns are read only of those parts where a row is found."""
        corpus = self._corpus
        if not corpus.views:
            return []
        stage = corpus.stage_of("segments")

        def names() -> str:
            every = corpus.select(corpus.readable[stage], filename=True)
            return f"SELECT filename, {KEY} AS key FROM ({every}) WHERE {search.condition} {search.order} LIMIT {most} OFFSET {skip}"  # noqa: S608

        found = corpus.query(names, search.parameters)
        files = {row["filename"] for row in found}

        def whole() -> str:
            parts = [ref for ref in corpus.readable[stage] if corpus.store.uri(ref.path) in files]
            return f"SELECT * FROM ({corpus.select(parts)}) WHERE list_contains(?, {KEY})"  # noqa: S608

        keys = [row["key"] for row in found]
        rows = {key_of(row): row for row in corpus.query(whole, [keys])} if found else {}
        return [rows[key] for key in keys if key in rows]

    def _remember(self, row: dict[str, Any]) -> None:
        _keep(self._rows, key_of(row), {name: row.get(name) for name in ("audio_path", "start", "end")}, ROWS)

    def _form(self) -> dict[str, Any]:
        """What the controls of the page offer; and `corpus`, under which a browser remembers its marks."""
        values = {
            name: [row["value"] for row in self._corpus.query(f"SELECT DISTINCT {name} AS value FROM segments WHERE {name} IS NOT NULL ORDER BY 1")]  # noqa: S608
            for name in ("language", "channel")
            if name in self._columns
        }  # fmt: skip
        return {
            "reasons": sorted({row["reason"] for row in funnel(self._corpus) if row["reason"]}),
            "languages": values.get("language", []),
            "channels": values.get("channel", []),
            "signals": [name for name, kind in self._columns.items() if is_number(kind)],
            "corpus": hashlib.sha256(self._corpus.store.uri("").encode()).hexdigest()[:16],
        }


def _stamp(corpus: Corpus) -> str:
    """What changes when a stage begins or ends. Lists of parts are long, and are not taken apart for it."""
    lists = [f"{manifest.folder}/_SUCCESS" for manifest in corpus.manifests]
    ended = [hashlib.sha256(corpus.store.read(path)).hexdigest() if corpus.store.exists(path) else None for path in lists]
    return json.dumps([corpus.current, ended], sort_keys=True)


def _keep(known: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > most:
        known.popitem(last=False)


def _inside(corpus: Corpus, row: Mapping[str, Any]) -> bool:
    """Whether the audio of a row lies in the root, links followed; the folder of all audio may itself be a link to another disk."""
    if not corpus.store.local or not row.get("audio_path"):
        return True
    path = os.path.realpath(corpus.store.path(row["audio_path"]))
    return any(path.startswith(os.path.realpath(corpus.store.path(folder)) + os.sep) for folder in ("", "audio"))
