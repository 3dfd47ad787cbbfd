"""``portproof verify``, ``capture`` and ``compare``."""
