"""Paddle models, exactly as a Paddle user would write them. Nothing here imports PyTorch."""
