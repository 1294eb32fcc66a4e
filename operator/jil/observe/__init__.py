"""Reads of the world outside the API server. Nothing here writes, and an unreadable answer is an answer: unknown."""
