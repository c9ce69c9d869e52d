"""Tests whose inputs hypothesis generates; `python -m benchmarks.generated_inputs` generates thousands."""
