"""Which trial is next and what is finished: pure Python, without KerasTuner and TensorFlow."""
