"""What we claim about speed: ratios side by side in one run, never an assertion in a test."""
