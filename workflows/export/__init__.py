"""A release in the formats of others: `silver export RELEASE OUT --to FORMAT`. Reads the release's own files and nothing else."""

from workflows.export.main import FORMATS, export

__all__ = ["FORMATS", "export"]
