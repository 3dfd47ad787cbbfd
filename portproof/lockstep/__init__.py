"""Two trainings held side by side: gradients, steps, and the faults planted into them."""
