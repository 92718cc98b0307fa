"""Whisper's weights out of CTranslate2's format into transformers: where no hub is in reach, what can be had is in the former.

The format is written by `ctranslate2.specs.model_spec` (https://github.com/OpenNMT/CTranslate2), version 6: little-endian; a header, the
variables by name, then aliases. Weights that were quantised to integers cannot be read back and are refused.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.contract import SilverError

_DTYPES = ("<f4", "i1", "<i2", "<i4", "<f2")  # in the order of CTranslate2's DataType; bfloat16 (5) is none of numpy's
_Array = npt.NDArray[Any]

# CTranslate2's name of a module to the one in transformers, `{}` being `encoder` or `decoder`. The projections of an attention are
# fused: self-attention has (q, k, v), output; cross-attention q, (k, v), output.
_MODULES = {
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
    "layer_norm": ("layer_norm",),
    "conv1": ("conv1",),
    "conv2": ("conv2",),
    "embeddings": ("embed_tokens",),
    "position_encodings": ("embed_positions",),
}
_TENSORS = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias", "encodings": "weight"}
_VARIABLE = re.compile(r"(encoder|decoder)/(?:layer_(\d+)/)?(.+)/(\w+)")


def read_variables(path: Path) -> dict[str, _Array]:
    """The variables of a CTranslate2 `model.bin`.

    Raises:
        SilverError: the file is of another kind, is cut off, or its weights are quantised.
    """
    data = path.read_bytes()
    at = 0

    def take(layout: str) -> tuple[Any, ...]:
        nonlocal at
        values = struct.unpack_from("<" + layout, data, at)
        at += struct.calcsize("<" + layout)
        return values

    def string() -> str:
        (size,) = take("H")
        return bytes(take(f"{size}s")[0][:-1]).decode()

    variables: dict[str, _Array] = {}
    try:
        (version,), kind, _revision, (count,) = take("I"), string(), take("I"), take("I")
        if (version, kind) != (6, "WhisperSpec"):
            msg = f"{path} is {kind[:40]!r} in version {version} of CTranslate2's format, not a Whisper in version 6"
            raise SilverError(msg)
        for _ in range(count):
            name, (rank,) = string(), take("B")
            shape, (dtype, size) = take(f"{rank}I"), take("BI")
            if name.endswith("weight_scale") or dtype >= len(_DTYPES):
                msg = f"{path} is quantised or in bfloat16: convert a Whisper in float16 or float32"
                raise SilverError(msg)
            variables[name] = np.frombuffer(data, _DTYPES[dtype], size // np.dtype(_DTYPES[dtype]).itemsize, at).reshape(shape)
            at += size
    except (struct.error, ValueError) as error:
        msg = f"{path} is no whole CTranslate2 model ({error}): fetch it again"
        raise SilverError(msg) from error
    return variables


def state_dict(variables: dict[str, _Array]) -> dict[str, _Array]:
    """The same weights under the names of transformers' `WhisperForConditionalGeneration`."""
    state: dict[str, _Array] = {}
    for name, value in variables.items():
        match = _VARIABLE.fullmatch(name)
        if not match or match[3] not in _MODULES or match[4] not in _TENSORS:
            continue  # settings, such as the number of heads
        part, layer, module, tensor = match.groups()
        prefix = f"model.{part}." + (f"layers.{layer}." if layer else "")
        targets = _MODULES[module]
        for target, piece in zip(targets, np.split(value, len(targets)), strict=True):
            if not (target.endswith("k_proj") and tensor == "bias"):  # zeros: Whisper's keys have no bias
                state[f"{prefix}{target}.{_TENSORS[tensor]}"] = piece
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    return state


def read_whisper(folder: Path) -> Any:
    """The Whisper in a folder of either format as a `WhisperForConditionalGeneration`, ready to `generate`.

    Raises:
        SilverError: as `to_transformers`.
    """
    if (folder / "model.bin").is_file():
        return to_transformers(folder)
    from transformers import WhisperForConditionalGeneration

    return WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True).eval()


def to_transformers(folder: Path) -> Any:
    """The CTranslate2 Whisper in `folder` as a float32 `WhisperForConditionalGeneration`, ready to `generate`.

    Raises:
        SilverError: the weights cannot be read, or are not those of a Whisper.
    """
    import tokenizers
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    variables = read_variables(folder / "model.bin")
    settings = json.loads((folder / "config.json").read_text())
    vocabulary = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    end, start = vocabulary.token_to_id("<|endoftext|>"), vocabulary.token_to_id("<|startoftranscript|>")
    special = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    numbers: dict[str, set[int]] = {"encoder": set(), "decoder": set()}
    for name in variables:
        if (match := _VARIABLE.fullmatch(name)) and match[2]:
            numbers[match[1]].add(int(match[2]))
    layers = {part: len(found) for part, found in numbers.items()}
    width, mels, _ = variables["encoder/conv1/weight"].shape
    config = WhisperConfig(
        vocab_size=len(variables["decoder/embeddings/weight"]),
        num_mel_bins=mels,
        d_model=width,
        encoder_layers=layers["encoder"],
        encoder_attention_heads=int(variables["encoder/num_heads"]),
        encoder_ffn_dim=len(variables["encoder/layer_0/ffn/linear_0/weight"]),
        decoder_layers=layers["decoder"],
        decoder_attention_heads=int(variables["decoder/num_heads"]),
        decoder_ffn_dim=len(variables["decoder/layer_0/ffn/linear_0/weight"]),
        max_source_positions=len(variables["encoder/position_encodings/encodings"]),
        max_target_positions=len(variables["decoder/position_encodings/encodings"]),
        **special,
    )
    with torch.device("meta"):  # no memory yet, no random weights
        model = WhisperForConditionalGeneration(config)
    state = {name: torch.from_numpy(value.astype(np.float32)) for name, value in state_dict(variables).items()}
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        msg = f"{folder / 'model.bin'} does not hold the weights of a Whisper: {error}"
        raise SilverError(msg) from error
    model.tie_weights()
    model.generation_config = GenerationConfig(
        max_length=config.max_target_positions,
        no_timestamps_token_id=vocabulary.token_to_id("<|notimestamps|>"),
        prev_sot_token_id=vocabulary.token_to_id("<|startofprev|>"),
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"],
        alignment_heads=settings["alignment_heads"],
        is_multilingual=config.vocab_size >= 51865,  # a token for each language; English-only models have fewer
        lang_to_id={token: number for token, number in vocabulary.get_vocab().items() if number in settings["lang_ids"]},
        task_to_id={task: vocabulary.token_to_id(f"<|{task}|>") for task in ("transcribe", "translate")},
        **special,
    )
    return model.eval()
