"""What the commands compute on: CPU cores and GPUs."""
