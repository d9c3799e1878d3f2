"""Kernels that tests run notebooks in."""

import tempfile

from nbclient import NotebookClient
from traitlets.config import Config


def own_sockets():
    """Return the settings of a kernel that talks over files of its own.

    A port that was free when the kernel was told of it can be taken before the kernel binds it. The path is short, for
    that of a socket has 107 characters at most.
    """
    return Config({"KernelManager": {"transport": "ipc", "ip": tempfile.mkdtemp(dir="/tmp") + "/kernel"}})


def run_notebook(notebook, *, timeout=300, folder=None, **options):
    """Run the cells of a notebook in a kernel of this Python; the outputs are set in it."""
    resources = {"metadata": {"path": str(folder)}} if folder is not None else {}
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources=resources, config=own_sockets(), **options
    )
    client.execute()
