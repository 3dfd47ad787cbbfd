"""Agreement of runners over a whole data set, on one machine or on a cluster."""
