"""May this image run on this track? Formats of signatures, and the decision over them.

Pure: no I/O, no clock, no randomness. Who reads registries gives raw bytes (`Evidence`), who knows the time gives the
time, and a decision is a value (`Verified` or `Refused`). Verification never trusts a name, a key id or a media type
that is not under a signature, and never parses bytes again after they were verified.
"""
