"""What a root no longer needs: manifests of other parameters than the current, parts that no manifest lists, temporary files."""

from __future__ import annotations

from manifests.corpus import Corpus
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
    if remove:
        with RootLock(store):
            for path in found:
                store.remove(path)
            store.clean_temporary()
    return found
