"""What finds actions with a snapshot, and what aher_k600_localize.py reads and writes: videos, pictures, tables."""
