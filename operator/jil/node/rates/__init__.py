"""The second sample service: exchange rates that are valid for a while, on the node's own broker and cache.

A quoted rate is first published on the broker's topic ``jil.rates``, which keeps the truth, and then put into the cache
until it expires. The cache can be lost at any time: it is filled again from the topic. ``view`` is the cache,
``keeper`` fills it from the topic, ``app`` speaks HTTP, ``__main__`` starts it.
"""
