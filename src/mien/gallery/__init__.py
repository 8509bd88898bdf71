"""The gallery: remembers people by the embeddings of their faces, and says who a face is."""
