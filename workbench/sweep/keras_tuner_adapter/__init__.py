"""Connects the scheduler to KerasTuner. Only the files in this folder use KerasTuner's private names.

`conversion` translates hyperparameters and trials, `oracle` gives the scheduler the interface of KerasTuner's oracles,
`adaptive` lets KerasTuner's Bayesian optimization and Hyperband choose the trials, `tuner` runs the trials, and
`protocol` carries them between processes.
"""
