"""A labelled set of images, and every way in and out."""
