"""Studies and timings behind the project's figures: python -m benchmarks.NAME, from its folder."""
