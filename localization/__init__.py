"""What aher_k600_localize.py reads and writes: videos on the command line, pictures, tables and subtitles."""
