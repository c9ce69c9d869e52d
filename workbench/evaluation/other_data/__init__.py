"""Evaluation of a run on other photos than its own: which are evaluated, under which classes, and the result."""
