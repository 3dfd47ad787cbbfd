"""What the documentation says is so, and its pictures are today's."""
