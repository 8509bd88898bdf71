"""Video: frames of files, cameras and streams, and who is seen in them over time."""
