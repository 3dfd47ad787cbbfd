"""Below the module: calls inside a forward, matched by their values, so that a fault is a pair of source lines."""
