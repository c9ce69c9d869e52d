"""The split of a data set: how it is drawn and kept, and which of its images show the same photo."""
