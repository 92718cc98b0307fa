"""How the CTC network that ships with Silver (`stages/align/assets/romanised-ctc`) is made: `python -m workflows.head --help`."""
