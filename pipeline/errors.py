"""Errors that say what happened. In a file of its own, so that a command that only looks need not load the engine."""

from __future__ import annotations


class SilverError(Exception):
    """An error whose message alone tells a user what happened, where, and what to do. Shown without a traceback."""


class ItemError(Exception):
    """One row cannot be processed: it is dropped with `reason` (a short identifier) and `detail` (a sentence)."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class RecipeError(SilverError):
    """The recipe or an override is wrong; nothing has run."""
