"""What a solve hands back, and how it is kept."""
