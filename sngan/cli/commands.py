"""The commands of `sngan`; each command is a module of this folder with a `main`."""

COMMANDS = {
    "train": "train a GAN, or continue one",
    "evaluate": "score a checkpoint",
    "sample": "write images made by a checkpoint",
    "benchmark": "time a training step, technique by technique",
    "inspect": "look at the singular values of a checkpoint's weights",
    "doctor": "say whether a run is healthy, and what to change",
    "export": "write a checkpoint's generator for other programs",
    "import": "read networks that another project has trained",
    "report": "write one page about a run, or about several",
    "watch": "show the page of a run that goes on, in a browser",
}

LESS = {
    "train": "lower batch and g_batch, or data.resident_mb",
    "evaluate": "lower n, or score on another machine",
    "sample": "lower n, or name fewer seeds",
    "benchmark": "lower batch and g_batch",
    "inspect": "lower n",
    "doctor": "lower n, or give features=false",
    "report": "give neighbours=0, or fewer runs",
    "export": "export on another machine",
    "import": "import on another machine",
    "watch": "name fewer runs",
}
"""What helps a command that runs out of memory."""
