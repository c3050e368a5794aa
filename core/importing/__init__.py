"""Import of tokens that somebody else's model and code measured, as a finished run (`docs/importing.md`).

Shapes: K exits, the last of which is the whole model; W windows of T tokens.
"""
