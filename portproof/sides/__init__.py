"""The two sides as processes: sessions, workers, the tasks that all sides answer, and how they correspond."""
