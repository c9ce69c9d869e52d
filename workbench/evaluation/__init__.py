"""The evaluation of trained models: metrics, the test of a run, and the comparison of runs."""
