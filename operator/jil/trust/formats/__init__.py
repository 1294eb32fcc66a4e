"""Bytes to values and back: JSON, base64, DSSE, statements, bundles. Nothing here decides about trust."""
