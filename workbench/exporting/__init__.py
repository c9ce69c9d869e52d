"""The formats that `python -m workbench.export` writes: one file each."""
