"""Kernels that tests run notebooks in."""

from nbclient import NotebookClient
from traitlets.config import Config

# A port that was free when a kernel was told of it can be taken before it binds it; a file of its own cannot.
OWN_SOCKETS = Config({"KernelManager": {"transport": "ipc"}})


def run_notebook(notebook, *, timeout=300, folder=None, **options):
    """Run the cells of a notebook in a kernel of this Python; the outputs are set in it."""
    resources = {"metadata": {"path": str(folder)}} if folder is not None else {}
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources=resources, config=OWN_SOCKETS, **options
    )
    client.execute()
