"""`python -m foveal`."""

from foveal.cli.main import run

run()
