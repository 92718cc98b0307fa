"""The record: what every stage wrote, row by row, and the ways to read it."""
