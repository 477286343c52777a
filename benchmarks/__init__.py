"""What the code costs: time, memory, disk and FLOP."""
