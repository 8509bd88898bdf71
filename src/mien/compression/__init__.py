"""Smaller, faster forms of networks, behind an accuracy gate: quantisation to int8, and pruning of channels."""
