"""What the method and its parts are worth: ablation and class splits on the demo world."""
