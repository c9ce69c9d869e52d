"""Explanations of a trained network: one method per module; `drawing` draws their figures."""
