"""The command line: the only code that knows hydra and omegaconf. One file per command; `compose.py` turns its config into ours."""
