"""Slow, literal transcriptions of what the papers and the authors' codes compute.

Loops over images, pixels and pairs, in float64, with no regard for speed: the fast versions in
`stkit/` are tested equal to these. Each function names the section or equation it follows.
"""
