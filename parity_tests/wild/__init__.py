"""Pairs that other people published: a model of a Paddle library beside the same one of a PyTorch library.

Nobody here wrote either side. Each port is a short declaration: the two constructors in a small configuration, and
where names differ, the map between them. ``python -m parity_tests.wild`` judges all of them (docs/wild.md).
"""
