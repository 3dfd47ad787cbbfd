"""Training: the same steps on both sides, judged in float64, and real trainings that can be stopped and resumed."""
