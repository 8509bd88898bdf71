"""Labelled pictures on a disk: what models are trained on and measured by. Readers only; nothing here learns."""
