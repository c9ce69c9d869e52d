"""Calibration: temperature scaling, and the confidence below which a prediction is called unknown."""
