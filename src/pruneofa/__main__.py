"""`python -m pruneofa`."""

from pruneofa.cli.main import main

main()
