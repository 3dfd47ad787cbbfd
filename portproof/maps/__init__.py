"""The weight map that finds itself: which tensor of one side is which of the other, told without a name, and proved."""
