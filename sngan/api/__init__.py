"""The front door from Python: what `sngan` the command does, as functions and a class."""
