"""What binds a pair of models: the weight maps, and the Port of each GoogLeNet."""
