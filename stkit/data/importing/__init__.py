"""Noise and poisoned images that others made, brought in as a poisoned data set by `load.load`.

`layouts` says what a file may hold, a module each, and turns it into poisoned images; `foreign`
opens files without running them. Where a file does not say what it is, the user is asked; what can
be checked is checked (`fitting`), what cannot is a note.
"""
