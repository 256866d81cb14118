"""A crowd for a sale's opening, and a verdict on how the server stood it: `python -m loadtests`, `docs/load.md`."""
