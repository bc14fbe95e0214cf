"""The commands of `sngan`; each command is a module of this folder with a `main`."""

COMMANDS = {
    "train": "train a GAN, or continue one",
    "evaluate": "score a checkpoint",
    "sample": "write images made by a checkpoint",
    "benchmark": "time a training step, technique by technique",
    "inspect": "look at the singular values of a checkpoint's weights",
    "export": "write a checkpoint's generator for other programs",
    "report": "write one page about a run, or about several",
    "watch": "show the page of a run that goes on, in a browser",
}
