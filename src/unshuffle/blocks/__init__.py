"""What a block computes, and networks of blocks."""
