"""The suite that proves the ports of this project."""
