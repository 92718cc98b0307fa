"""Mixed precision, where the machine has it."""

from __future__ import annotations

from typing import Any


def mixed(device: str, *, wanted: bool = True) -> Any:
    """A context in which torch computes in bfloat16 what bears it, if that is faster on this device ("cpu", "cuda").

    On a processor without instructions for bfloat16 torch imitates them: a product of matrices took 4.5 times as long as in float32.
    """
    import torch

    return torch.autocast(device, torch.bfloat16, enabled=wanted and (device != "cpu" or _has_bfloat16()))


def _has_bfloat16() -> bool:
    """True if the processor multiplies bfloat16 itself (AVX512-BF16, AMX; of others torch does not say)."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001
