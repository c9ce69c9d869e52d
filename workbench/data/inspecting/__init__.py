"""Counts, sizes, unreadable files, duplicates and leaks of a data set, before anything is trained on it."""
