"""The predictions of a sweep's trials for its validation images, and what follows from all of them together."""
