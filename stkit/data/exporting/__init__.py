"""Writing a data set for others to read: a tree of images, or the layouts of EM, REM and others.

Rows are in the order of `index`, the order that other people's loaders know. What `stkit import`
reads back are the same images, from every format. `export.export` is the door, `formats` has a
module a format.
"""
