"""Broken files of every kind that is read, a family a module.

A generator takes a `random.Random`, an empty folder and the corpus, writes files, and returns a
`Case`. All its choices come from the generator it is given, so a case can be made again; where
Hypothesis stands behind that, it can also be made smaller.
"""
