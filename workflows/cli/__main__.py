"""`python -m workflows.cli`: the command without its entry point."""

from workflows.cli import main

main()
