"""What prepare_data.py does: one module for each subcommand."""
