"""Forced alignment by ctc-forced-aligner: the same path as torchaudio's, without torchaudio's binary."""

from __future__ import annotations

from stages.align.ctc import Ints, ViterbiBackend
from stages.align.network import LogProbs


class CtcForcedAligner(ViterbiBackend):
    """The path is searched by `ctc_forced_aligner.forced_align`, one segment a call: it knows no larger batch."""

    @staticmethod
    def path(log_probs: LogProbs, targets: Ints, blank: int) -> Ints:
        """See `ViterbiBackend.path`."""
        from ctc_forced_aligner import forced_align

        path, _scores = forced_align(log_probs[None], targets[None], blank=blank)
        found: Ints = path[0]
        return found
