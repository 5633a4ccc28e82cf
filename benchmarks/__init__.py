"""The project against its peers, side by side, in one run: `python -m benchmarks`. Needs the extra `bench`."""
