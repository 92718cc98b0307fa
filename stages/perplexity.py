"""perplexity: how unlike the rest of the corpus a text is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.part import PartRef, read_part
from manifests.schema import extend
from manifests.store import Store
from pipeline.contract import CorpusContext, CorpusStage
from stages.ngrams import NGrams
from stages.normalise.languages import split

ORDER = 6
"""Characters of the longest n-gram: about a word."""
SAMPLE = 4_000_000
"""Characters that a model is counted on at most: 80 hours of speech; 10 to 40 MB of n-grams."""
ALL_SAMPLES = 64_000_000
"""Characters of all samples together at most, so that a corpus of many languages fits into the memory of one machine."""
LEAST = 10_000
"""Characters, a quarter of an hour of speech; a model of fewer knows too few words to tell anything, and there is none."""

Group = tuple[str, int]
"""Language (its code without region) and half of the corpus."""
Sample = dict[int, str]
"""Texts by their hash."""


class Perplexity(CorpusStage):
    """Perplexity of each text, a character, under character 6-grams that the corpus itself was counted for, a model a language.

    Text that is garbled, of another language or stuck in a loop of syllables is far from what the corpus says elsewhere; see `stages.ngrams`
    for the model and Wenzek et al. 2020 (CCNet) for perplexity as a filter of text. Compare it within one corpus and language only: it
    falls with the size of the corpus, and rises with that of the alphabet.

    The recordings of a language fall into two halves by the hash of their id, and each half is read by the model of the other: what a
    labeller wrote again and again in one recording does not vouch for itself. Of equal texts one is counted, so a phrase that it invents
    all over the corpus does not either. Where a half has more than `SAMPLE` characters, the texts with the lowest hashes are counted. The
    language is the expected one, else the one that was heard. Null: dropped rows, empty texts, no language, fewer than `LEAST`
    characters of it in the other half.
    """

    name, version = "perplexity", "1"
    reads = ("text", "language", "recording_id")
    adds = pa.schema([("perplexity", pa.float32())])
    packages = ("numpy",)

    def run(self, parts: Sequence[PartRef], context: CorpusContext) -> Iterator[PartRef | pa.Table]:
        """Sample, count, read: three passes, each part by part on the workers."""
        store, folder = context.store, f"models/perplexity/{context.fingerprint}"
        samples = Samples()
        for found in context.map(partial(_distinct, store), parts):
            samples.add(found)
        chosen = samples.chosen()
        models: dict[Group, str] = {}
        for group, path in zip(chosen, context.map(partial(_count, store, folder), chosen.values()), strict=True):
            models[group] = path
            context.report(f"counted {len(models)} of {len(chosen)} models")
        try:
            for ref, values in zip(parts, context.map(partial(_read, store, models), parts), strict=True):
                table = read_part(store, ref)
                schema = extend(table.schema, self.adds)
                index = schema.get_field_index("perplexity")
                columns = [table.column(column.name) if number != index else values for number, column in enumerate(schema)]
                yield pa.table(columns, schema=schema)
        finally:
            store.remove(folder)


class Samples:
    """The texts with the lowest hashes of each group, as many as there is room for; the order in which they come does not matter."""

    def __init__(self, each: int = SAMPLE, together: int = ALL_SAMPLES) -> None:
        self._each, self._together = each, together
        self._texts: dict[Group, Sample] = {}
        self._sizes: dict[Group, int] = {}
        self._limits: dict[Group, int] = {}  # hashes from here on have been thrown away

    def add(self, found: Mapping[Group, Sample]) -> None:
        """More texts."""
        for group, texts in found.items():
            held, limit = self._texts.setdefault(group, {}), self._limits.get(group, 1 << 64)
            new = {key: text for key, text in texts.items() if key < limit and key not in held}
            held |= new
            self._sizes[group] = self._sizes.get(group, 0) + sum(map(len, new.values()))
            if self._sizes[group] > 2 * self._room():
                self._cut(group)

    def _room(self) -> int:
        return min(self._each, self._together // max(1, len(self._texts)))

    def _cut(self, group: Group) -> None:
        held = sorted(self._texts[group].items())
        ends = np.cumsum([len(text) for _, text in held])
        kept = int(np.searchsorted(ends, self._room(), side="right"))
        if kept < len(held):
            self._limits[group] = held[kept][0]
        self._texts[group] = dict(held[:kept])
        self._sizes[group] = int(ends[kept - 1]) if kept else 0

    def chosen(self) -> dict[Group, list[str]]:
        """Texts of each group that has enough of them, both in an order that depends on nothing but the texts."""
        for group in self._texts:
            self._cut(group)
        return {group: list(self._texts[group].values()) for group in sorted(self._texts) if self._sizes[group] >= LEAST}


def _distinct(store: Store, ref: PartRef) -> dict[Group, Sample]:
    """The live texts of a part."""
    found: dict[Group, Sample] = {}
    for group, text in _texts(store, ref):
        if group and text:
            found.setdefault(group, {})[_hash(text)] = text
    return found


def _count(store: Store, folder: str, texts: list[str]) -> str:
    """Make a model and keep it under the hash of its content; its path."""
    data = NGrams.fit(texts, ORDER).to_bytes()
    path = f"{folder}/{blake2b(data, digest_size=16).hexdigest()}.npz"
    store.write(path, data)
    return path


def _read(store: Store, models: Mapping[Group, str], ref: PartRef) -> pa.Array:
    """The perplexity of each row of a part, each half read by the model of the other."""
    rows = _texts(store, ref)
    values = np.full(len(rows), np.nan)
    for group in sorted({group for group, _ in rows if group}):
        other = (group[0], 1 - group[1])
        if other in models:
            mine = [number for number, (its, _) in enumerate(rows) if its == group]
            values[mine] = _model(store.root, models[other]).perplexities([rows[number][1] for number in mine])
    return pa.array(values.astype(np.float32), mask=np.isnan(values))


@lru_cache(maxsize=4)
def _model(root: str, path: str) -> NGrams:
    return NGrams.from_bytes(Store(root).read(path))


def _texts(store: Store, ref: PartRef) -> list[tuple[Group | None, str]]:
    """Group (None: no language, or dropped) and text of every row of a part."""
    with store.open(ref.path) as handle:
        file = pq.ParquetFile(handle)
        names = [*Perplexity.reads, "drop_reason", *{"audio_language"}.intersection(file.schema_arrow.names)]
        rows = file.read(names).to_pylist()
    return [(_group(row) if row["drop_reason"] is None else None, row["text"] or "") for row in rows]


def _group(row: Mapping[str, str | None]) -> Group | None:
    language, _region = split(row["language"] or row.get("audio_language"))
    return (language, _hash(row["recording_id"] or "") % 2) if language else None


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
