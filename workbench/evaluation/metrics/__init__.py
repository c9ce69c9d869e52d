"""Metrics of predictions: accuracy with its interval, F1, balanced accuracy, calibration, and paired tests."""
