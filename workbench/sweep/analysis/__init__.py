"""Statistics of a sweep's outcomes: what its winner is worth on new images, which trials equal it, and ensembles."""
