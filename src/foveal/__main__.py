"""`python -m foveal`."""

from foveal.cli.main import main

main()
