"""Builds a corpus: the entry point of a Ray job.

    ray job submit --working-dir . -- python -m workflows.build configs/folder.yaml root=s3://bucket/corpus language=el

The same as `silver run`; submitting it again is the resume.
"""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe in the arguments; see `silver run --help`."""
    from workflows.cli import main as silver

    silver(["run", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    main()
