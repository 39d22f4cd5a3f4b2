"""Disk files: what a file is by its content, and the one program that works on them, within limits."""
