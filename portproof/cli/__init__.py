"""The commands; and where an exception becomes an exit code."""
