"""Module by module on the other side's input."""
