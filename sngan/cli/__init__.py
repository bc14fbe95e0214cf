"""The command line: the only code that knows hydra and omegaconf. One file a command; `compose.py` is the door."""
