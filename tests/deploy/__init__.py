"""The files in deploy/ that other programs read, checked by those programs and their schemas."""
