"""Training: turns data into a trained, measured run folder. `train(recipe, workdir)` is the only door."""
