"""How a run starts, stops, writes its files and continues: errors, signals, files, snapshots, the log, TensorFlow."""
