"""Forced alignment by torchaudio."""

from __future__ import annotations

from stages.align.ctc import PathBackend
from stages.align.network import LogProbs
from stages.align.viterbi import Ints


class Torchaudio(PathBackend):
    """The path is searched by `torchaudio.functional.forced_align`."""

    @staticmethod
    def path(log_probs: LogProbs, targets: Ints, blank: int) -> Ints:
        """See `PathBackend.path`."""
        import torch
        from torchaudio.functional import forced_align

        path, _scores = forced_align(torch.from_numpy(log_probs)[None], torch.from_numpy(targets)[None], blank=blank)
        found: Ints = path[0].numpy()
        return found
