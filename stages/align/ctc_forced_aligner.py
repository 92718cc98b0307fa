"""Forced alignment by ctc-forced-aligner: the same path as torchaudio's, without torchaudio's binary."""

from __future__ import annotations

from stages.align.ctc import PathBackend
from stages.align.network import LogProbs
from stages.align.viterbi import Ints


class CtcForcedAligner(PathBackend):
    """The path is searched by `ctc_forced_aligner.forced_align`, one text a call: it knows no larger batch."""

    @staticmethod
    def path(log_probs: LogProbs, targets: Ints, blank: int) -> Ints:
        """See `PathBackend.path`."""
        from ctc_forced_aligner import forced_align

        path, _scores = forced_align(log_probs[None], targets[None], blank=blank)
        found: Ints = path[0]
        return found
