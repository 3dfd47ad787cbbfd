"""Tests of the engine: would the harness notice?"""
