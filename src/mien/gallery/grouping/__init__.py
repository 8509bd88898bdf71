"""Groups of unknown people in a folder of pictures: found, kept, shown, and named into a gallery."""
