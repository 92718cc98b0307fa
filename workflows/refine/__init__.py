"""Refinement: a student trained on selected labels writes its corpus anew, round after round (noisy student)."""
