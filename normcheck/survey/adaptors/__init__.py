"""One file per library, found by its name: a LIBRARY, and functions that call what it lists.

A file must import where its library does not exist, and must import nothing heavy: the library is
imported inside the functions.
"""
