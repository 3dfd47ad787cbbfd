"""Faults planted into forwards' own code by rewriting its source, and whether their lines are named."""
