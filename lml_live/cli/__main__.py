"""`python -m lml_live.cli`."""

from lml_live.cli import main

main()
