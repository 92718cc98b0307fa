"""What acquiring is about: a source is one audio file somewhere; a candidate is one that may have to be fetched."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from manifests.schema import source_id
from stages.acquire.media import SOURCES

AUDIO = frozenset(
    [
        ".aac",
        ".ac3",
        ".aif",
        ".aifc",
        ".aiff",
        ".alac",
        ".amr",
        ".ape",
        ".au",
        ".caf",
        ".dts",
        ".eac3",
        ".flac",
        ".g722",
        ".gsm",
        ".m4a",
        ".m4b",
        ".mka",
        ".mp2",
        ".mp3",
        ".mpc",
        ".oga",
        ".ogg",
        ".opus",
        ".ra",
        ".rf64",
        ".sph",
        ".spx",
        ".tta",
        ".w64",
        ".wav",
        ".wave",
        ".weba",
        ".wma",
        ".wv",
    ]
)
"""Extensions taken for audio."""
VIDEO = frozenset(
    [
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogm",
        ".ogv",
        ".rm",
        ".rmvb",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
    ]
)
"""Extensions taken for video; the audio track is used."""

_LONGEST = 500  # characters of a title, a channel or a licence
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_LOSSLESS = {".flac": 16_000, ".wav": 32_000, ".wave": 32_000, ".au": 16_000, ".aif": 176_400, ".aiff": 176_400, ".g722": 8_000}
_COMPRESSED, _WITH_PICTURES = 8_000, 100_000
"""Bytes a second: 64 kbit/s, as speech is often compressed (a guess of 128 made parts twice as long as asked), and 800 kbit/s."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source that was acquired, or that could not be (`reason` is set).

    `version` tells a changed file from the one that was there before: size and time of a local file. A feed and yt-dlp put
    their own name of the item there, by which it is known again when its address has changed; it is not part of the identity.
    """

    uri: str
    media: str | None = None
    version: str = ""
    seconds: float = 0.0
    """Estimated duration: it decides how sources are grouped into parts, and nothing else."""
    title: str | None = None
    channel: str | None = None
    language: str | None = None
    licence: str | None = None
    published: str | None = None
    text: str | None = None
    folder: str | None = None
    """Where it lay, below the folder that was asked for: its channel if nothing else says one."""
    reason: str | None = None
    detail: str | None = None

    @property
    def source_id(self) -> str:
        """Identity: the address alone for what was downloaded, address and version for a file that stays where it is."""
        stays = self.media is not None and not self.media.startswith(f"{SOURCES}/")
        return source_id(self.uri, self.version if stays else "")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A source that was seen in a list. `fetch` brings it here (one source, or several where a page turns out to hold several).

    `fetch` may raise ItemError: the source failed.
    """

    uri: str
    fetch: Callable[[], list[Source]]
    version: str = ""
    channel: str | None = None
    """If the list says it: what is of a channel that was taken down is not fetched."""
    stays: bool = False
    """A file that is used where it is: it is looked at again in every run, and a changed one takes the place of the old."""


def clean(value: object, longest: int | None = _LONGEST) -> str | None:
    r"""Text of strangers as the manifest holds it: valid UTF-8, no longer than `longest` characters, None if empty.

    >>> clean(" a\udcff "), clean("")
    ('a\\udcff', None)
    """
    if value is None:
        return None
    text = str(value).strip() if longest is None else str(value).strip()[:longest]
    return text.encode(errors="backslashreplace").decode() or None


def language(value: object) -> str | None:
    """A BCP 47 language, or None where the text is none.

    >>> language("en_US"), language(" de "), language("English!")
    ('en-US', 'de', None)
    """
    text = str(value or "").strip()
    return text.replace("_", "-") if _LANGUAGE.fullmatch(text) and text.lower() not in {"und", "mul", "zxx"} else None


def extension(name: str) -> str:
    """The extension of a path or URL if it is a known one, else nothing. Safe in a path.

    >>> extension("http://a/b/Talk.MP3?x=1.exe"), extension("http://a/get.php")
    ('.mp3', '')
    """
    suffix = PurePosixPath(unquote(urlsplit(name).path)).suffix.lower() if "://" in name else PurePosixPath(name).suffix.lower()
    return suffix if suffix in AUDIO or suffix in VIDEO else ""


def download_path(url: str, suffix: str) -> str:
    """Where a download lies, relative to the corpus root. `suffix` must come from `extension`."""
    digest = hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()[:32]
    return f"{SOURCES}/{digest[:2]}/{digest}{suffix}"


def estimated_seconds(suffix: str, size: int) -> float:
    """How long a file of `size` bytes may be, by its extension. At least a second, so that a part is never endless."""
    rate = _WITH_PICTURES if suffix in VIDEO else _LOSSLESS.get(suffix, _COMPRESSED)
    return max(1.0, size / rate)
