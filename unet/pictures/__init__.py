"""What is drawn: images side by side, curves, the page of test.py, networks."""
