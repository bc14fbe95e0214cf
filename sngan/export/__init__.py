"""Generators as files that other programs run, each compared with what it was made from."""
