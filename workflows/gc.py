"""What a root no longer needs: manifests of other parameters than the current, parts that no manifest lists, students that no row names, temporary files."""

from __future__ import annotations

from manifests.corpus import Corpus
from manifests.part import read_part
from pipeline.lock import RootLock


def garbage(corpus: Corpus, *, remove: bool) -> list[str]:
    """Paths, relative to the root, that may go. Removes them, under the root's lock, if asked."""
    store = corpus.store
    current = {(manifest.stage, manifest.fingerprint): manifest for manifest in corpus.manifests}
    found = []
    for stage in store.names("manifests"):
        for fingerprint in store.names(f"manifests/{stage}"):
            manifest = current.get((stage, fingerprint))
            folder = f"manifests/{stage}/{fingerprint}"
            if manifest is None:
                found.append(folder)
            elif manifest.success:
                listed = {ref.path for ref in manifest.listed}
                found += [
                    f"{folder}/{name}" for name in store.names(folder) if name.startswith("part-") and f"{folder}/{name}" not in listed
                ]
    found += _students(corpus)
    if remove:
        with RootLock(store):
            for path in found:
                store.remove(path)
            store.clean_temporary()
    return found


def _students(corpus: Corpus) -> list[str]:
    """Folders of students that no current row names; none while a training may go on with one."""
    store = corpus.store
    sections = store.names("models")
    if any(manifest.stage in sections and not manifest.success for manifest in corpus.manifests):
        return []
    named: set[str] = set()
    for manifest in corpus.manifests:
        for ref in manifest.listed[:1]:  # the same in all rows of a manifest
            table = read_part(store, ref)
            for column in {"student", "trained"} & set(table.column_names):
                named |= set(table.column(column).to_pylist())
    folders = (f"models/{section}/{key}" for section in sections for key in store.names(f"models/{section}"))
    return [folder for folder in folders if folder not in named]
