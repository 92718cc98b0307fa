"""Mixed precision, where the machine has it."""

from __future__ import annotations

from typing import Any


def mixed(device: str, *, wanted: bool = True) -> Any:
    """A context in which torch computes in bfloat16 what bears it, if that is faster on this device ("cpu", "cuda").

    Where a device has no instructions for bfloat16 torch imitates them: on a processor a product of matrices took 4.5 times as long as in float32.
    """
    import torch

    return torch.autocast(device, torch.bfloat16, enabled=wanted and _has_bfloat16(device))


def _has_bfloat16(device: str) -> bool:
    """True if the device multiplies bfloat16 itself: a GPU from Ampere on, a processor with AVX512-BF16 or AMX (of others torch does not say)."""
    import torch

    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001
    return device != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
