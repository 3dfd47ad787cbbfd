"""PyTorch models, exactly as a PyTorch user would write them. Nothing here imports Paddle."""
