"""Port projects to begin with; see :mod:`portproof._init`."""
