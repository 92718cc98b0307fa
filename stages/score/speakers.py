"""How many voices a segment seems to hold: a hint, not diarisation.

Speaker embeddings of the network that Resemblyzer ships (GE2E, Wan et al. 2018, "Generalized End-to-End Loss for Speaker Verification"; 17 MB)
of 1.6 s of speech, every 0.8 s, each two neighbours averaged; they are merged by average linkage while two groups are alike enough, and each
group of three or more is a voice, so one of less than 3 s is not seen. Chosen on the five studio speakers that it was tried on: of 25 stretches
each of one, two and three of them, 10 to 15 s, it read the right number for 25, 20 and 23.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.audio import Samples
from stages.score.packages import model_file
from stages.score.silence import SPEECH
from stages.voice import WINDOW, Probabilities

_ALIKE = 0.78
"""Mean cosine from which on two groups are one voice."""
_WINDOW, _HOP = 160, 80  # frames of 10 ms
_LEVEL = 10 ** (-30 / 20)
"""Root mean square that the network is used to: -30 dB under full scale."""


class Speakers:
    """The network, loaded."""

    def __init__(self) -> None:
        import torch
        import torchaudio

        weights = torch.load(self.model(), map_location="cpu", weights_only=True)["model_state"]
        self._lstm, self._linear = torch.nn.LSTM(40, 256, 3, batch_first=True), torch.nn.Linear(256, 256)
        for layer, name in ((self._lstm, "lstm."), (self._linear, "linear.")):
            layer.load_state_dict({key.removeprefix(name): value for key, value in weights.items() if key.startswith(name)})
        self._mel = torchaudio.transforms.MelSpectrogram(
            16_000, n_fft=400, hop_length=160, n_mels=40, norm="slaney", mel_scale="slaney", pad_mode="constant"
        )

    @staticmethod
    def model() -> Path:
        """Its weights. Raises SilverError without the package."""
        return model_file("speakers", "resemblyzer", "pretrained.pt")

    def count(self, samples: Samples, probabilities: Probabilities) -> int | None:
        """At least 1; None where there is less than a window (1.6 s) of speech. `probabilities` are those of `silence.hear`."""
        speech = samples[np.repeat(probabilities >= SPEECH, WINDOW)[: len(samples)]]
        if len(speech) < _WINDOW * 160 or not speech.any():
            return None
        return count_groups(self._embed(_levelled(speech)))

    def voice(self, samples: Samples) -> npt.NDArray[np.float32] | None:
        """The mean embedding of a segment, a unit vector of shape (256,); None for less than a window (1.6 s), or silence."""
        if len(samples) < _WINDOW * 160 or not samples.any():
            return None
        mean = self._embed(_levelled(samples)).mean(0)
        found: npt.NDArray[np.float32] = mean / np.linalg.norm(mean)
        return found

    def _embed(self, speech: Samples) -> npt.NDArray[np.float32]:
        """A unit vector for each two neighbouring windows, shape (n, 256)."""
        import torch

        with torch.no_grad():
            frames = self._mel(torch.from_numpy(speech)).T
            starts = range(0, len(frames) - _WINDOW + 1, _HOP)
            _, (hidden, _) = self._lstm(torch.stack([frames[start : start + _WINDOW] for start in starts]))
            embeddings = torch.nn.functional.normalize(torch.relu(self._linear(hidden[-1])))
            if len(embeddings) > 1:
                embeddings = torch.nn.functional.normalize(embeddings[1:] + embeddings[:-1])
        found: npt.NDArray[np.float32] = embeddings.numpy()
        return found


def _levelled(speech: Samples) -> Samples:
    return speech * np.float32(_LEVEL / np.sqrt(np.square(speech, dtype=np.float64).mean()))


def count_groups(embeddings: npt.NDArray[np.float32]) -> int:
    """Groups of three or more unit vectors, shape (n, d), by average linkage; 1 if there is none.

    >>> count_groups(np.repeat(np.eye(2, dtype=np.float32), 3, axis=0))
    2
    """
    groups = [[number] for number in range(len(embeddings))]
    alike = embeddings @ embeddings.T
    while len(groups) > 1:
        means = np.array([[alike[np.ix_(a, b)].mean() if a is not b else -1.0 for b in groups] for a in groups])
        first, second = sorted(divmod(int(means.argmax()), len(groups)))
        if means[first, second] < _ALIKE:
            break
        groups[first] += groups.pop(second)
    return max(1, sum(len(group) > 2 for group in groups))
