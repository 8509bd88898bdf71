"""Training one's own models: deep and classical. Needs the extra `train`."""
