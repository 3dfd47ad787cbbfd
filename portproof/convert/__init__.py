"""Names and layouts of one side into the other's: without processes and without a framework."""
