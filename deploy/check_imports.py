"""Says whether the packages that Silver is built on work here: each is imported and asked for something small."""

from __future__ import annotations

import numpy as np


def main() -> None:
    """Import each package and call it once; the first that fails stops the set-up with its own error."""
    import ctc_forced_aligner  # noqa: F401
    import langid
    import pyarrow as pa
    import ray
    import torch
    import torchaudio
    import webdataset
    import whisperx  # noqa: F401
    import yt_dlp

    log_probs = torch.log_softmax(torch.eye(4)[None] * 5, -1)
    path, _scores = torchaudio.functional.forced_align(log_probs, torch.tensor([[1, 2, 3]], dtype=torch.int32))
    answers = (path.tolist(), langid.classify("this is plain English text")[0], pa.array(np.zeros(1)).to_pylist())
    if answers != ([[0, 1, 2, 3]], "en", [0.0]):
        raise SystemExit(f"a package answers wrongly: {answers}")
    versions = (f"{m.__name__} {getattr(m, '__version__', '')}" for m in (ray, torch, torchaudio, pa, webdataset))
    print("works:", ", ".join([*versions, f"yt_dlp {yt_dlp.version.__version__}", "whisperx", "langid", "ctc_forced_aligner"]))


if __name__ == "__main__":
    main()
