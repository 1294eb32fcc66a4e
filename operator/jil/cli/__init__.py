"""jilctl: what a person or a pipeline does with images, releases and keys. Also installed as ``kubectl jil``.

Commands are thin (main.py, images.py, releases.py, keys.py); what they do is in steps of their own, which know no
terminal. May import every layer; nothing imports it.
"""
