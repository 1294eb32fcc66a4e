"""Private keys, wherever they are: a PEM file, the environment, a Kubernetes Secret, a token behind PKCS#11.

Nobody outside asks where: `open_key` gives something that signs. Keys of files, environment and Secrets are in this
process's memory while it runs; a key in a token never leaves it.
"""
