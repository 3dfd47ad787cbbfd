"""ONNX graphs: interpreted in float64, paired with modules, matched with each other, and blamed node by node."""
