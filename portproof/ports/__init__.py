"""What an author declares, how it is found, and what it is run on."""
