"""TensorFlow operations that the network and the training step are built from."""
