"""Real speech for tests: see `workflows.demo.speech`."""

from workflows.demo.speech import Prompt, Span, long_speech, prompts

__all__ = ["Prompt", "Span", "long_speech", "prompts"]
