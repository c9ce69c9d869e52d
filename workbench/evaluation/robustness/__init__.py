"""Robustness: how the accuracy falls where photos are blurred, noisy, compressed, dark or small."""
