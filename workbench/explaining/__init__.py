"""What a trained network reacts to: each method in a module of its own, its figures in `drawing`."""
