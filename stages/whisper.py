"""One listen: a window of audio goes through Whisper's encoder once, and language, text and word times all come from its output.

Encoding is the larger half of the work on a CPU. The output of each window is kept in `context.memory`, which the stages of one
part share; a stage that runs alone encodes again and gets the same numbers. Windows are encoded one at a time: on a CPU that is
faster than a batch (the data stays in the cache), and a window's output cannot depend on its neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile

from pipeline.contract import ItemError, PartContext, SilverError
from stages import models
from stages.audio import SAMPLE_RATE, Samples, read_audio
from stages.words import written_words

WINDOW = 30.0
"""Seconds that Whisper hears at once. Shorter windows are padded, so a short one costs as much; what is longer is not heard."""

ComputeType = Literal["auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32"]
COMPUTE_TYPE = "CTranslate2's arithmetic; auto is int8 on a CPU and float16 on a GPU, so the text may differ a little between the two"

Encoded = npt.NDArray[Any]
"""Encoder output of one window, shape (1500, width)."""

# Where BCP 47 and Whisper call a language by different names.
_ALIASES = {"jv": "jw", "nb": "no", "cmn": "zh", "fil": "tl", "iw": "he", "in": "id", "ji": "yi", "zh-yue": "yue"}


def language_code(tag: str) -> str:
    """Whisper's name for a BCP 47 tag. Whether a model knows it is another question: see `knows`.

    >>> language_code("en-US"), language_code("zh_Hant_TW"), language_code("nb"), language_code("zh-yue")
    ('en', 'zh', 'no', 'yue')
    """
    subtags = tag.strip().lower().replace("_", "-").split("-")
    return _ALIASES.get("-".join(subtags[:2])) or _ALIASES.get(subtags[0], subtags[0])


def identity(name: str, *, multilingual: bool = False) -> dict[str, str]:
    """Identity of a CTranslate2 Whisper, as `models.identity`.

    Raises:
        SilverError: it is missing, damaged, no CTranslate2 Whisper, or (if `multilingual` is asked for) knows English only.
    """
    found = models.identity(name)
    folder = models.find(name)
    weights = folder / "model.bin"
    if not weights.is_file() or b"WhisperSpec" not in _head(weights):
        msg = f"{folder} is no Whisper in CTranslate2's format (model.bin). Convert it with ct2-transformers-converter, or fetch one: "
        msg += "silver models fetch base"
        raise SilverError(msg)
    for needed in ("tokenizer.json", "config.json"):
        if not (folder / needed).is_file():
            msg = f"{folder} has no {needed}: copy it from the model that this one was made of"
            raise SilverError(msg)
    if multilingual and not is_multilingual(folder):
        msg = f"the model {name} knows English only, and so cannot tell languages apart: take a multilingual one, such as base or large-v3"
        raise SilverError(msg)
    return found


def _head(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(64)


def is_multilingual(folder: Path) -> bool:
    """True if the model in this folder knows more than English. CTranslate2's own rule: only then the vocabulary has an empty word."""
    if (folder / "vocabulary.json").is_file():
        return "" in json.loads((folder / "vocabulary.json").read_text("utf-8"))
    return "" in (folder / "vocabulary.txt").read_text("utf-8").removesuffix("\n").split("\n")


def load(name: str, compute_type: ComputeType, context: PartContext) -> Any:
    """The model as a `faster_whisper.WhisperModel`, one for each process and setting."""
    return _load(models.find(name), context.device, resolve(compute_type, context.device), context.threads)


@cache
def _load(folder: Path, device: str, compute_type: str, threads: int) -> Any:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device=device, compute_type=compute_type, cpu_threads=threads)
    model.hf_tokenizer = read_tokenizer(folder)
    return model


def read_tokenizer(folder: Path) -> Any:
    """The `tokenizers.Tokenizer` of a Whisper, mended.

    Most published multilingual ones lack the first merge, "Ġ t" (it stood where a comment is skipped), so that " the" falls into
    " " and "the": tokens that the model never saw. What it writes is read right all the same; what it is given to read is not.
    """
    import tokenizers

    settings = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    merges, vocabulary = settings["model"].get("merges"), settings["model"]["vocab"]
    if merges and "Ġt" in vocabulary and "Ġ t" not in merges and ["Ġ", "t"] not in merges:
        merges.insert(0, "Ġ t" if isinstance(merges[0], str) else ["Ġ", "t"])
    return tokenizers.Tokenizer.from_str(json.dumps(settings))


def resolve(compute_type: ComputeType, device: str) -> str:
    """The arithmetic that `compute_type` means on this device.

    Raises:
        SilverError: the device does not have it.
    """
    import ctranslate2

    supported: set[str] = ctranslate2.get_supported_compute_types(device)
    if compute_type == "auto":
        return "int8" if device == "cpu" else "float16" if "float16" in supported else "float32"
    if compute_type not in supported:
        msg = f"compute_type={compute_type} does not run on this {device}: take auto or one of {', '.join(sorted(supported))}"
        raise SilverError(msg)
    return compute_type


def knows(model: Any, code: str) -> bool:
    """True if the model writes the language with this code of Whisper's."""
    if not model.model.is_multilingual:
        return code == "en"
    return model.hf_tokenizer.token_to_id(f"<|{code}|>") is not None


@lru_cache(maxsize=256)
def tokenizer(model: Any, code: str) -> Any:
    """The `faster_whisper.tokenizer.Tokenizer` that transcribes the language with this code."""
    from faster_whisper.tokenizer import Tokenizer

    return Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=code)


def encode(context: PartContext, model: Any, rows: Sequence[Mapping[str, Any]]) -> list[Encoded | ItemError]:
    """Encoder outputs of the windows of `rows`, in order, or why one cannot be had. Each window is encoded once a part."""
    keys = [_key(model, row) for row in rows]
    missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in context.memory}
    # Reading and mel features of the windows ahead go on in threads while the model works.
    with ThreadPoolExecutor(max_workers=context.threads, thread_name_prefix="features") as pool:
        for key, features in zip(missing, pool.map(lambda row: _features(context, model, row), missing.values()), strict=True):
            context.memory[key] = features if isinstance(features, ItemError) else _encode(model, features)
    return [context.memory[key] for key in keys]


def _key(model: Any, row: Mapping[str, Any]) -> tuple[Any, ...]:
    # Models are loaded once a process and stay, so their address names them.
    return ("whisper", id(model), row["audio_path"], row["start"], row["end"])


def _features(context: PartContext, model: Any, row: Mapping[str, Any]) -> npt.NDArray[np.float32] | ItemError:
    """Log-mel features of a window, padded or cut to 30 s, shape (mels, 3000); the same as faster-whisper's."""
    from faster_whisper.audio import pad_or_trim

    try:
        samples = read_window(context, row)
    except ItemError as error:
        return error
    features: npt.NDArray[np.float32] = pad_or_trim(model.feature_extractor(samples)[..., :-1])
    return features


def read_window(context: PartContext, row: Mapping[str, Any]) -> Samples:
    """The samples of a row, at most 30 s of them.

    Raises:
        ItemError: the recording in the store is damaged.
    """
    end = min(row["end"], row["start"] + WINDOW)
    try:
        samples = read_audio(context.store, {**row, "end": end})
    except soundfile.LibsndfileError as error:
        raise ItemError("audio_unreadable", f"{row['audio_path']}: {error}") from error
    expected = round(end * SAMPLE_RATE) - round(row["start"] * SAMPLE_RATE)
    if len(samples) < expected:
        raise ItemError("audio_unreadable", f"{row['audio_path']}: {len(samples)} of {expected} samples from {row['start']} s")
    return samples


def _encode(model: Any, features: npt.NDArray[np.float32]) -> Encoded:
    import ctranslate2

    output = model.encode(features).to_device(ctranslate2.Device.cpu)
    if output.dtype == ctranslate2.DataType.bfloat16:  # which numpy does not know
        output = output.to(ctranslate2.DataType.float32)
    encoded: Encoded = np.asarray(output)[0]
    return encoded


def storage(outputs: Sequence[Encoded]) -> Any:
    """Encoder outputs as one batch that the model's `generate`, `align` and `detect_language` take."""
    import ctranslate2

    return ctranslate2.StorageView.from_array(np.stack(outputs))


def word_scores(tokenizer: Any, tokens: Sequence[int], probabilities: Sequence[float]) -> tuple[float, ...]:
    """Of each of the `written_words` of what `tokens` say: the mean probability of its tokens, those of punctuation left out if there are others."""
    texts, groups = tokenizer.split_tokens_on_unicode(list(tokens))
    owners: list[int] = []  # of each character that is not a space, the group of tokens that it was written by
    for group, text in enumerate(texts):
        owners += [group] * len("".join(text.split()))
    ends = np.cumsum([len(group) for group in groups])
    spans = [(int(end) - len(group), int(end)) for group, end in zip(groups, ends, strict=True)]
    scores = []
    at = 0
    for word in written_words("".join(texts)):
        own = {owner: None for owner, character in zip(owners[at:], word, strict=False) if character.isalnum()}
        own = own or dict.fromkeys(owners[at : at + len(word)])
        at += len(word)
        scores.append(float(np.mean([probability for group in own for probability in probabilities[slice(*spans[group])]])))
    return tuple(scores)


def languages(model: Any, outputs: Sequence[Encoded]) -> list[dict[str, float]]:
    """For each window, the probability of each language of Whisper's, the most probable first."""
    found = model.model.detect_language(storage(outputs)) if outputs else []
    return [{token[2:-2]: probability for token, probability in window} for window in found]


def too_long(row: Mapping[str, Any]) -> ItemError | None:
    """Why a row cannot be transcribed whole, if it is longer than a window."""
    if row["end"] - row["start"] <= WINDOW + 0.01:
        return None
    return ItemError(
        "too_long", f"{row['end'] - row['start']:.2f} s: Whisper hears {WINDOW:.0f} s at once; put `segment` before this stage"
    )


def detect(model: Any, output: Encoded) -> str:
    """Code of the most probable language of one window."""
    return next(iter(languages(model, [output])[0])) if model.model.is_multilingual else "en"
